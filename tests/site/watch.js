// Notes what a reader waits for, in milliseconds, and how far things jump; test_site_speed.py runs it before the page.
(() => {
  window.seen = { formulas: null, usable: null, jumps: 0 };
  new PerformanceObserver((shifts) => shifts.getEntries().forEach((shift) => {
    if (!shift.hadRecentInput) seen.jumps += shift.value;
  })).observe({ type: "layout-shift", buffered: true });
  const inWindow = (element) => {
    const box = element.getBoundingClientRect();
    return box.width && box.bottom > 0 && box.top < innerHeight;
  };
  const isSet = (formula) => formula.querySelector("mjx-container > mjx-math") && formula.checkVisibility({ visibilityProperty: true });
  const responds = () => {
    const { dataset } = document.documentElement, mode = dataset.mode;
    const button = document.querySelector("button.theme-switch-button");
    button?.click();
    return !button || dataset.mode !== mode;
  };
  const set = document.getElementsByTagName("mjx-container");
  let before = 0;
  const look = () => {
    const loaded = performance.getEntriesByType("navigation")[0].domContentLoadedEventEnd;
    if (set.length > before || set.length && !(loaded && seen.formulas)) { // to look costs time
      const formulas = [...document.querySelectorAll(".math")].filter(inWindow);
      if (!formulas.every(isSet)) seen.formulas = null;
      else if (formulas.length && document.fonts.status === "loaded") seen.formulas ??= performance.now();
    }
    before = set.length;
    const painted = performance.getEntriesByName("first-contentful-paint").length;
    if (painted && loaded && !seen.usable && responds()) seen.usable = performance.now();
    requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
})();

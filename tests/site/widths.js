// What is too wide for the window; test_site_pages.py evaluates it at each width.
() => {
  const elements = [...document.querySelectorAll("article *:not(mjx-container *, svg *, pre span)")]
    .filter((element) => !element.closest(".visually-hidden, .sr-only, mjx-assistive-mml"));
  const name = (element) => element.outerHTML.slice(0, 120);
  const style = new Map(elements.map((element) => [element, getComputedStyle(element)]));
  const wider = elements.filter((element) => element.clientWidth > 1 && element.scrollWidth > element.clientWidth + 1);
  const scrolls = (element) => /auto|scroll/.test(style.get(element).overflowX);
  const cuts = (element) => /hidden|clip/.test(style.get(element).overflowX);
  const reached = (element) =>
    element.tabIndex >= 0 || element.querySelector("a[href], button, input, select, summary, [tabindex]:not([tabindex='-1'])");
  return {
    overflow: Math.max(0, document.documentElement.scrollWidth - innerWidth),
    sticks_out: elements.filter((element) => element.getBoundingClientRect().right > innerWidth + 1).slice(0, 5).map(name),
    cut: wider.filter(cuts).map(name),
    scrolling: wider.filter(scrolls).length,
    unreachable: wider.filter((element) => scrolls(element) && !reached(element)).map(name),
  };
}

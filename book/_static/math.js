// MathJax sets the formulas in the window first, then each that comes near it, and all that are left for a printer.
if (window.MathJax) MathJax.startup = {
  typeset: false,
  async ready() {
    MathJax.startup.defaultReady();
    addEventListener("beforeprint", setAll);
    if (document.readyState === "loading") await new Promise((arrived) => document.addEventListener("readystatechange", arrived));
    for (let seen; (seen = left().filter(inWindow)).length;) await set(seen); // what moves may bring others into the window
    document.documentElement.classList.add("settled"); // book.css
    const near = new IntersectionObserver(
      (seen) => set(seen.filter((entry) => entry.isIntersecting).map((entry) => entry.target)),
      { rootMargin: "200% 0px" },
    );
    left().forEach((formula) => near.observe(formula));
  },
};

const left = () => [...document.querySelectorAll(".math:not(.set)")];
const setAll = () => set(left());

function inWindow(formula) {
  const box = formula.getBoundingClientRect();
  return box.width && box.bottom > 0 && box.top < innerHeight;
}

async function set(formulas) {
  const now = formulas.filter((formula) => !formula.classList.contains("set"));
  if (!now.length) return;
  now.forEach((formula) => {
    formula.classList.add("set");
    keepMarks(formula);
  });
  await MathJax.typesetPromise(now);
  document.body.getBoundingClientRect(); // the layout asks for fonts
  await document.fonts.ready; // until then a formula is as wide as in another font
  now.forEach((formula) => [formula, ...formula.querySelectorAll("mjx-container")].forEach(fadeAtSides));
}

// A line does not begin with the comma after a formula: both, and a bracket before, share a box (book.css).
function keepMarks(formula) {
  if (formula.localName !== "span") return;
  const [before, after] = [formula.previousSibling, formula.nextSibling];
  const opening = before?.data?.match(/[(\[“]+$/)?.[0] ?? "";
  const closing = after?.data?.match(/^(’s\b|[\])”.,;:!?%])+/)?.[0] ?? "";
  if (!opening && !closing) return;
  if (opening) before.data = before.data.slice(0, -opening.length);
  if (closing) after.data = after.data.slice(closing.length);
  const box = document.createElement("span");
  box.className = "together";
  formula.replaceWith(box);
  box.append(opening, formula, closing);
}

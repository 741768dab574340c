// Repairs the theme's markup where axe finds fault with it, lets the keyboard reach what scrolls, and sets tables and
// sentences as they are read.
const all = (query, change) => document.querySelectorAll(query).forEach(change);
document.addEventListener("DOMContentLoaded", () => {
  all("table.dataframe", tidy);
  all("article", keepIntervals);
  const unlabel = (element) => element.removeAttribute("aria-label"); // it contradicts the visible text
  all("details > summary[aria-label]", unlabel);
  all(".toctree-toggle", (arrow) => { // it opens the pages below another one, in the sidebar
    const page = arrow.closest("li").querySelector("a").textContent.trim();
    arrow.parentElement.setAttribute("aria-label", `Pages of ${page}`);
  });
  all("button.search-button-field[aria-label]", unlabel);
  all("button.theme-switch-button[aria-label]", (element) => {
    unlabel(element);
    element.insertAdjacentHTML("afterbegin", '<span class="visually-hidden">Color mode</span>');
  });
  all(".sidebar-primary-items__start", (element) => {
    element.setAttribute("role", "navigation");
    element.setAttribute("aria-label", "Site");
  });
  all("article ul > ul", (list) => list.previousElementSibling?.append(list)); // in the list of sources
  all(".citation-list[role=list] [role=doc-biblioentry]", (element) => element.setAttribute("role", "listitem"));
  all("th:empty", (cell) => cell.replaceWith(document.createElement("td"))); // the corner of a data frame
  addEventListener("beforeprint", () => all("article details", (folded) => (folded.open = true)));
  all("article :is(pre, .picture, .cell_output, .cell_output *, .pst-scrollable-table-container)", fadeAtSides);
});

// What is wider than its box fades out at the side where it goes on.
const sizes = new ResizeObserver((changes) => changes.forEach((change) => fade(change.target)));
function fade(box) {
  const left = box.scrollLeft, goesOn = () => box.matches(".goes-on-left, .goes-on-right"), before = goesOn();
  box.classList.toggle("goes-on-left", left > 1);
  box.classList.toggle("goes-on-right", left < box.scrollWidth - box.clientWidth - 1);
  if (goesOn() !== before && !box.querySelector("a[href], button, summary")) box.tabIndex = before ? -1 : 0;
}
function fadeAtSides(box) {
  if (!/auto|scroll/.test(getComputedStyle(box).overflowX)) return;
  box.addEventListener("scroll", () => fade(box), { passive: true });
  sizes.observe(box); // pictures arrive later
}

// Data frames have one row of headers, real minus signs, and numbers to the right, below each other.
const NUMBER = /^([−+-]?[\d.,]+(e[−+-]?\d+)?%?(\s±\s[\d.,]+)?|[−+-]?inf|–|nan|NaN|)$/;
function tidy(table) {
  const cells = (part) => [...(part?.rows ?? [])].map((row) => [...row.cells]);
  const [top, below, ...more] = cells(table.tHead); // pandas gives the names of the index a row of their own
  if (below?.length === top.length && !more.length && !top.some((name, i) => name.textContent && below[i].textContent)) {
    top.forEach((name, i) => { name.textContent ||= below[i].textContent; });
    below[0].parentElement.remove();
  }
  const rows = cells(table.tBodies[0]).map((row) => row.reverse()); // cells that span rows are missing on the left
  cells(table.tHead).at(-1).reverse().forEach((name, i) => {
    const column = rows.map((row) => row[i]).filter(Boolean);
    if (!column.every((cell) => NUMBER.test(cell.textContent.trim()))) return;
    column.forEach((cell) => { cell.textContent = cell.textContent.trim().replace(/-(?=[\d.]|inf)/g, "−"); });
    if (column[0]?.localName === "td") [name, ...column].forEach((cell) => cell.classList.add("number"));
  });
}

// No line ends beside the sign of an interval.
function keepIntervals(article) {
  const texts = document.createTreeWalker(article, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    if (texts.currentNode.parentElement.closest("pre, code, script, .math")) continue;
    const { data } = texts.currentNode;
    if (data.includes(" ± ")) texts.currentNode.data = data.replaceAll(" ± ", "\u00a0±\u00a0");
  }
}

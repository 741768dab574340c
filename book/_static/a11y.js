// Repairs the theme's markup where axe finds fault with it, and lets the keyboard reach what scrolls.
document.addEventListener("DOMContentLoaded", () => {
  const all = (query, change) => document.querySelectorAll(query).forEach(change);
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
  all(".citation-list[role=list] [role=doc-biblioentry]", (element) => element.setAttribute("role", "listitem"));
  all("th:empty", (cell) => cell.replaceWith(document.createElement("td"))); // the corner of a data frame
  all(".cell_output figure > img", (picture) => { // on a phone it keeps a size that can be read, and scrolls
    const box = document.createElement("div");
    box.className = "picture";
    picture.replaceWith(box);
    box.append(picture);
  });
  fade();
});

// What is wider than its box fades out at the side where it goes on.
function fade() {
  const boxes = [...document.querySelectorAll("article :is(.math, pre, .picture, .cell_output, .cell_output *, .pst-scrollable-table-container)")]
    .filter((box) => /auto|scroll/.test(getComputedStyle(box).overflowX));
  const look = (box) => {
    const left = box.scrollLeft;
    box.classList.toggle("goes-on-left", left > 2);
    box.classList.toggle("goes-on-right", left < box.scrollWidth - box.clientWidth - 2);
    if (box.matches(".goes-on-left, .goes-on-right") && !box.querySelector("a[href], button, summary")) box.tabIndex = 0;
  };
  const sizes = new ResizeObserver((changes) => changes.forEach((change) => look(change.target)));
  boxes.forEach((box) => {
    box.addEventListener("scroll", () => look(box), { passive: true });
    sizes.observe(box); // MathJax and pictures arrive later
  });
}

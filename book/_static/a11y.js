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
});

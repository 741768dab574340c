// What a reader meets on a page; test_site_pages.py evaluates it in the browser.
() => {
  const all = (query) => [...document.querySelectorAll(query)];
  const name = (element) => (element.id || element.textContent.trim() || element.outerHTML).slice(0, 80);
  const article = document.querySelector("article, main");
  const prose = article.cloneNode(true);
  prose.querySelectorAll("pre").forEach((element) => element.remove()); // code may hold patterns and formats
  const outputs = all(".cell_output, .output").map((element) => element.innerText).join("\n");
  const formula = (anchor) => {
    while (anchor && !anchor.matches(".math")) anchor = anchor.nextElementSibling;
    return anchor?.querySelector(".eqno")?.textContent;
  };
  return {
    title: document.title,
    lang: document.documentElement.lang,
    equations: all("[id^='equation-eq-']").map((anchor) => [anchor.id, formula(anchor) ?? "no number"]),
    bare_math: all(".math").filter((e) => !e.querySelector("mjx-container")).map(name),
    // MathJax sets an unknown macro in red instead of failing.
    math_errors: all("mjx-merror, [data-mjx-error], mjx-container [style*='color: red']").map(name),
    raw_tex: prose.textContent.match(/\\[(\[].{0,60}|\\(?:begin|label)\{.{0,40}/g) || [],
    missing_fonts: [...document.fonts].filter((font) => font.status === "error").map((font) => font.family),
    broken_images: [...document.images].filter((image) => !image.naturalWidth).map((image) => image.src),
    images_without_alt: [...document.images].filter((i) => !i.alt.trim() || /^_images|\.png$/.test(i.alt)).map((i) => i.src),
    stderr_blocks: all(".stderr, .output.traceback").map(name),
    parted_marks: all("article :not(.together) > span.math").filter((e) => /^[\])”.,;:!?%]/.test(e.nextSibling?.data ?? "")).map(name),
    progress_bars: article.innerText.match(/\d+%\|.{0,40}|[\d.]+ ?(?:it\/s|s\/it)\b/g) || [],
    warnings: outputs.match(/.*\b\w*Warning: .{0,60}/g) || [],
    unseen_ways_on: all("a.left-prev, a.right-next").filter((link) => !link.getBoundingClientRect().width).map(name),
  };
}

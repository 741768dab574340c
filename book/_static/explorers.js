// Interactive figures: looks up, for the position of the controls, what book/_ext/explorers.py put beside them.

/**
 * @typedef {object} Table
 * @property {string[][]} values the texts of each control's positions
 * @property {string[]} sentences one for each position of all controls, the last control running fastest
 * @property {{on: number[], d: string[]}[]} series for each curve the controls it depends on, and a path for each of
 *   their positions
 */

/**
 * Connects the controls of a figure with its curves.
 * @param {HTMLElement} figure
 */
function connect(figure) {
  /** @type {Table} */
  const table = JSON.parse(figure.querySelector("script[type='application/json']").textContent);
  /** @type {(HTMLInputElement | HTMLSelectElement)[]} */
  const controls = [...figure.querySelectorAll("[data-control]")];
  const outputs = controls.map((control) => figure.querySelector(`output[for='${control.id}']`));
  const curves = [...figure.querySelectorAll(".explorer-panels g > path")];
  const pictures = [...figure.querySelectorAll(".explorer-panels svg")];
  const sentence = figure.querySelector(".explorer-sentence");
  const everyControl = controls.map((_, i) => i);

  /**
   * @param {number[]} on the controls that a table depends on
   * @returns {number} the row of their position
   */
  const row = (on) => on.reduce((start, i) => start * table.values[i].length + Number(controls[i].value), 0);

  const draw = () => {
    controls.forEach((control, i) => {
      if (!outputs[i]) return; // a list shows its own value
      outputs[i].textContent = table.values[i][Number(control.value)];
      control.setAttribute("aria-valuetext", outputs[i].textContent);
    });
    table.series.forEach((series, i) => curves[i].setAttribute("d", series.d[row(series.on)]));
    const text = table.sentences[row(everyControl)];
    if (sentence.textContent !== text) sentence.textContent = text; // the same again would be announced again
    pictures.forEach((picture) => picture.setAttribute("aria-label", `${picture.dataset.alt} ${text}`));
  };

  controls.forEach((control) => control.addEventListener("input", draw));
  draw(); // a browser may bring back the positions of an earlier visit
  figure.querySelector(".explorer-controls").hidden = false;
}

document.addEventListener("DOMContentLoaded", () => document.querySelectorAll("figure.explorer").forEach(connect));

// Interactive figures: looks up, for the position of the controls, what book/_ext/explorers.py put beside them.

const still = matchMedia("(prefers-reduced-motion: reduce)");

/**
 * @typedef {object} Table
 * @property {string[][]} values the texts of each control's positions
 * @property {string[]} sentences one for each position of all controls, the last control running fastest
 * @property {{on: number[], d: string[]}[]} series for each curve the controls it depends on, and a path for each of
 *   their positions
 * @property {{on: number[], y: number[]}[]} pictures for each picture the same, and how far its file is moved
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
  const images = [...figure.querySelectorAll(".explorer-panels image")];
  const panels = [...figure.querySelectorAll(".explorer-panels svg")];
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
    table.pictures.forEach((picture, i) => images[i].setAttribute("y", picture.y[row(picture.on)]));
    const text = table.sentences[row(everyControl)];
    if (sentence.textContent !== text) sentence.textContent = text; // the same again would be announced again
    panels.forEach((panel) => panel.setAttribute("aria-label", `${panel.dataset.alt} ${text}`));
  };

  controls.forEach((control) => control.addEventListener("input", draw));
  figure.querySelectorAll("button[data-plays]").forEach((button) => letPlay(button, figure, draw));
  draw(); // a browser may bring back the positions of an earlier visit
  figure.querySelector(".explorer-controls").hidden = false;
}

/**
 * Lets a button move a slider to its end, until it is pressed again or a control is moved. From the position that the
 * page opens with, and from the end, it begins anew.
 * @param {HTMLButtonElement} button
 * @param {HTMLElement} figure
 * @param {() => void} draw shows the position of the controls
 */
function letPlay(button, figure, draw) {
  const slider = document.getElementById(button.dataset.plays);
  const sentence = figure.querySelector(".explorer-sentence");
  let timer = 0;

  const stop = () => {
    clearInterval(timer);
    timer = 0;
    button.textContent = "Play";
    sentence.setAttribute("aria-live", "polite");
    sentence.textContent = sentence.textContent; // so that it is announced
  };
  const step = () => {
    slider.value = Number(slider.value) + 1;
    draw();
    if (slider.value === slider.max || still.matches) stop();
  };
  const start = () => {
    if ([slider.defaultValue, slider.max].includes(slider.value)) slider.value = 0;
    button.textContent = "Stop";
    sentence.setAttribute("aria-live", "off"); // it changes faster than it can be spoken
    draw();
    timer = setInterval(step, (1000 * Number(button.dataset.seconds)) / Number(slider.max));
  };

  button.addEventListener("click", () => (timer ? stop() : start()));
  figure.addEventListener("input", () => timer && stop());
}

document.addEventListener("DOMContentLoaded", () => document.querySelectorAll("figure.explorer:has(script)").forEach(connect));

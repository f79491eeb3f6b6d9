"use strict";
const pair = document.getElementById("pair");
function show(cell) {
  const grid = document.getElementById("grid");
  for (const lit of grid.querySelectorAll(".lit")) lit.classList.remove("lit");
  const row = grid.querySelector(`th[data-row="${cell.dataset.row}"]`);
  const column = grid.querySelector(`th[data-column="${cell.dataset.column}"]`);
  for (const lit of [cell, row, column]) lit.classList.add("lit");
  for (const [name, source] of [["both", cell], ["where", row], ["bright", column]]) {
    const image = pair.querySelector(`[data-shows="${name}"]`);
    image.src = source.querySelector("img").src;
    image.alt = source.querySelector("img").alt;
  }
  pair.querySelector("[data-says=both]").textContent = cell.dataset.says;
  pair.querySelector("[data-says=where]").textContent = "what is where: " + row.dataset.says;
  pair.querySelector("[data-says=bright]").textContent = "how bright: " + column.dataset.says;
}
if (pair) {
  const cells = [...document.querySelectorAll("#grid button")];
  for (const cell of cells) {
    for (const event of ["mouseenter", "focus", "click"])
      cell.addEventListener(event, () => show(cell));
    cell.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
      const [down, right] = step[event.key] || [0, 0];
      const next = cells.find((other) =>
        +other.dataset.row === +cell.dataset.row + down &&
        +other.dataset.column === +cell.dataset.column + right);
      if (next && next !== cell) { event.preventDefault(); next.focus(); }
    });
  }
  show(cells[0]);
}
for (const walk of document.querySelectorAll(".walk")) {
  const images = walk.querySelectorAll("img");
  const slider = walk.querySelector("input");
  const update = () => {
    images.forEach((image, number) => { image.hidden = number !== +slider.value; });
    walk.querySelector("output").textContent = images[+slider.value].alt;
  };
  slider.addEventListener("input", update);
  update();
}

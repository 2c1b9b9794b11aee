// Sorts the rows of a table by a column: first the best on top, then the worst, then the order of the suite.
// The page is complete without it.
"use strict";
for (const table of document.querySelectorAll("table.sortable")) {
  const bodies = [...table.tBodies].map((body) => [body, [...body.rows]]);
  const heads = [...table.tHead.rows]
    .flatMap((row, level) => [...row.cells].map((cell) => [cell, level]))
    .filter(([cell]) => cell.scope === "col")
    .sort((a, b) => a[0].getBoundingClientRect().left - b[0].getBoundingClientRect().left)
    .map(([cell]) => cell);
  heads.forEach((head, place) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    const first = head.dataset.first || "ascending";
    const second = first === "ascending" ? "descending" : "ascending";
    button.addEventListener("click", () => {
      const now = head.getAttribute("aria-sort");
      const next = now === first ? second : now === second ? null : first;
      for (const other of heads) other.removeAttribute("aria-sort");
      if (next !== null) head.setAttribute("aria-sort", next);
      for (const [body, rows] of bodies) {
        const fixed = rows.filter((row) => row.classList.contains("section"));
        const free = rows.filter((row) => !row.classList.contains("section"));
        if (next !== null) free.sort((a, b) => compare(a.cells[place], b.cells[place], next === "ascending" ? 1 : -1));
        body.append(...fixed, ...free);
      }
    });
  });
}

// Rows without a number come last in both directions.
function compare(a, b, sign) {
  if (a.tagName === "TH") return sign * a.textContent.localeCompare(b.textContent);
  const [x, y] = [a, b].map((cell) => (cell.dataset.value === undefined ? NaN : Number(cell.dataset.value)));
  if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
  return sign * (x - y);
}

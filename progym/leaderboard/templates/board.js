"use strict";
// Sorts tables by the column whose heading is pressed. Ranks belong to the rows and stay with them.
for (const table of document.querySelectorAll("table[data-sortable]")) {
  const told = table.closest("section").querySelector("[role=status]");
  const headings = [...table.querySelectorAll("thead th[data-sort]")];
  const valueOf = (row, column) => {
    const cell = row.cells[column];
    return "value" in cell.dataset ? Number(cell.dataset.value) : cell.textContent.trim();
  };
  const compare = (a, b) => typeof a === "number" && typeof b === "number"
    ? (Number.isNaN(a) ? -Infinity : a) - (Number.isNaN(b) ? -Infinity : b)
    : String(a).localeCompare(String(b), "en");
  const sort = (heading) => {
    const now = heading.getAttribute("aria-sort");
    const direction = now === null ? heading.dataset.sort
      : now === "ascending" ? "descending" : "ascending";
    const sign = direction === "ascending" ? 1 : -1;
    const column = heading.cellIndex;
    const rows = [...table.tBodies[0].rows];
    rows.sort((a, b) => sign * compare(valueOf(a, column), valueOf(b, column)));
    table.tBodies[0].append(...rows);
    for (const other of headings) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", direction);
    told.textContent = `Sorted by ${heading.dataset.name}, ${direction}.`;
  };
  for (const heading of headings) {
    const button = document.createElement("button");
    button.type = "button";
    const label = heading.querySelector("span");
    label.replaceWith(button);
    button.append(label);
    button.addEventListener("click", () => sort(heading));
  }
}

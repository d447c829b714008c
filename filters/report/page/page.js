"use strict";
// Filters and sorts the table of messages. Without script the page shows all of them, newest first.
(() => {
  const table = document.querySelector("#messages table");
  const sieve = document.querySelector("#sieve");
  if (!table || !sieve) return;
  const body = table.tBodies[0];
  const rows = Array.from(body.rows);
  const texts = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));
  const status = document.querySelector("#shown");
  const [words, kind, year, era] = ["words", "kind", "year", "era"].map((name) => sieve.elements[name]);

  function show() {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const row of rows) {
      const fits =
        (!kind.value || row.dataset.k === kind.value) &&
        (!year.value || row.cells[0].textContent.startsWith(year.value)) &&
        (!era.value || row.dataset.e === era.value) &&
        wanted.every((word) => texts.get(row).includes(word));
      row.hidden = !fits;
      count += fits;
    }
    status.textContent = `${count.toLocaleString("en")} of ${rows.length.toLocaleString("en")} shown`;
  }

  function sort(column, heading) {
    const down = heading.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });
    const keys = new Map(rows.map((row) => [row, row.cells[column].textContent]));
    rows.sort((one, two) => collator.compare(keys.get(one), keys.get(two)) * (down ? -1 : 1));
    body.append(...rows);
  }

  Array.from(table.tHead.rows[0].cells).forEach((heading, column) => {
    const button = heading.querySelector("button");
    if (button) button.addEventListener("click", () => sort(column, heading));
  });
  for (const button of table.tHead.querySelectorAll("button")) button.disabled = false;
  sieve.hidden = false;
  sieve.addEventListener("input", show);
  sieve.addEventListener("submit", (event) => event.preventDefault());
  sieve.addEventListener("reset", () => setTimeout(show));
  show();
})();

// Shows the rows of a table that hold the text typed above it; without scripts the whole table stands there.
for (const field of document.querySelectorAll("input[data-rows]")) {
  const rows = [...document.getElementById(field.dataset.rows).tBodies[0].rows];
  const told = document.getElementById(field.dataset.told);
  const words = rows.map((row) => row.textContent.toLowerCase());
  field.addEventListener("input", () => {
    const asked = field.value.trim().toLowerCase();
    rows.forEach((row, i) => { row.hidden = !words[i].includes(asked); });
    told.textContent = rows.filter((row) => !row.hidden).length + " of " + rows.length;
  });
  field.closest("[hidden]").hidden = false;
}

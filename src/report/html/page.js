"use strict";
// Copies commands, and sorts and filters the table of rows. The view is in the address (#filter=…&sort=…), so that it can be shared and survives
// a renewal of the page (event "page:changed").
(() => {
  const order = new Intl.Collator(undefined, { numeric: true });
  const asked = () => new URLSearchParams(location.hash.slice(1));

  function ask(changes) {
    const wanted = asked();
    for (const [name, value] of Object.entries(changes)) {
      if (value) wanted.set(name, value); else wanted.delete(name);
    }
    history.replaceState(null, "", "#" + wanted);
    show();
  }

  function show() {
    const table = document.querySelector("[data-sortable]");
    if (!table) return;
    const wanted = asked();
    const words = (wanted.get("filter") || "").toLowerCase().split(/\s+/).filter(Boolean);
    const field = document.querySelector("[data-filter]");
    if (document.activeElement !== field) field.value = wanted.get("filter") || "";

    const rows = [...table.tBodies[0].rows];
    let shown = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      if (!row.hidden) shown += 1;
    }

    const heads = [...table.tHead.rows[0].cells];
    const name = wanted.get("sort") || "";
    const down = name.startsWith("-");
    document.querySelector("[data-sort]").value = name;
    const column = heads.findIndex((head) => head.textContent === name.replace(/^-/, ""));
    heads.forEach((head, place) => {
      if (place !== column) head.removeAttribute("aria-sort");
      else head.setAttribute("aria-sort", down ? "descending" : "ascending");
    });
    if (column >= 0) {
      const text = (row) => row.cells[column].textContent;
      rows.sort((one, other) => order.compare(text(one), text(other)) * (down ? -1 : 1));
      table.tBodies[0].append(...rows);
    }
    const count = shown === rows.length ? `${rows.length} rows` : `${shown} of ${rows.length} rows`;
    document.querySelector("[data-count]").textContent = count;
  }

  // Without a permission, or on a page that came over plain HTTP, the browser copies what is selected, or the user does.
  async function copy(button) {
    const code = button.parentElement.querySelector("code");
    let copied = true;
    try {
      await navigator.clipboard.writeText(code.textContent);
    } catch {
      getSelection().selectAllChildren(code);
      copied = document.execCommand("copy");
    }
    button.textContent = copied ? "Copied" : "Selected, press Ctrl+C";
    setTimeout(() => { button.textContent = "Copy"; }, 3000);
  }

  function prepare() {
    for (const button of document.querySelectorAll("[data-copy]")) button.hidden = false;
    const table = document.querySelector("[data-sortable]");
    if (!table) return;
    for (const head of table.tHead.rows[0].cells) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const name = button.textContent;
        ask({ sort: asked().get("sort") === name ? "-" + name : name });
      });
    }
    document.querySelector("[data-tools]").hidden = false;
    document.querySelector("[data-filter]").addEventListener("input", (event) => ask({ filter: event.target.value }));
    document.querySelector("[data-sort]").addEventListener("change", (event) => ask({ sort: event.target.value }));
    show();
  }

  function look() {
    if (asked().has("filter")) document.getElementById("rows")?.scrollIntoView();
  }

  document.addEventListener("click", (event) => {
    if (event.target.matches("[data-copy]")) copy(event.target);
  });
  addEventListener("hashchange", () => { show(); look(); });
  document.addEventListener("page:changed", prepare);
  prepare();
  look();
})();

"use strict";
const find = document.getElementById("find");
const shown = document.getElementById("shown");
const items = [...document.querySelectorAll("[data-v]")].map(node => ({node, text: node.textContent.toLowerCase()}));
const rows = items.filter(item => item.node.localName === "tr").length;

function filter() {
  const only = document.querySelector("[name=only]:checked").value;
  const words = find.value.toLowerCase().split(/\s+/);
  let left = 0;
  for (const {node, text} of items) {
    node.hidden = (only && node.dataset.v !== only) || !words.every(word => text.includes(word));
    left += node.localName === "tr" && !node.hidden;
  }
  shown.textContent = left === rows ? "" : `${left} of ${rows} checks`;
}

function reveal() {
  const target = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
  if (!target || target.localName !== "details") return;
  target.open = true;
  target.scrollIntoView();
  target.querySelector("summary").focus({preventScroll: true});
}

let closed = [];
addEventListener("beforeprint", () => {
  closed = [...document.querySelectorAll("details:not([open])")];
  for (const node of closed) node.open = true;
});
addEventListener("afterprint", () => { for (const node of closed) node.open = false; });
addEventListener("hashchange", reveal);
document.querySelector("form.filter").addEventListener("input", filter);
document.querySelector("form.filter").addEventListener("submit", event => event.preventDefault());
document.querySelector(".find").hidden = false;
filter();
reveal();

"use strict";
const find = document.getElementById("find");
const shown = document.getElementById("shown");
const items = [...document.querySelectorAll("[data-v]")].map(node => ({node, text: `${node.textContent} ${node.dataset.also ?? ""}`.toLowerCase()}));
const causes = [...document.querySelectorAll("[data-find]")];
const rows = items.filter(item => item.node.localName === "tr").length;

function filter() {
  const only = document.querySelector("[name=only]:checked").value;
  const words = find.value.toLowerCase().split(/\s+/);
  for (const button of causes) button.ariaPressed = String(button.dataset.find === find.value);
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
for (const button of causes) {
  button.addEventListener("click", () => {
    find.value = find.value === button.dataset.find ? "" : button.dataset.find;
    filter();
  });
}
for (const node of document.querySelectorAll(".find, .causes")) node.hidden = false;
filter();
reveal();

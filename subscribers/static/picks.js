// What a picks form does better with a script: boxes that tick each other, finding by name, the browser's time zone.
"use strict";

document.documentElement.classList.add("script");

for (const tree of document.querySelectorAll("[data-tree]")) grow(tree);
for (const select of document.querySelectorAll("select[data-guess]")) guess(select);

// A tree of boxes: picking a branch is picking all in it. Boxes ticked only because of that are shown so, but are
// not sent. A branch in which some are ticked is half ticked.
function grow(tree) {
  const boxes = [...tree.querySelectorAll("input[type=checkbox]")];
  const below = new Map(boxes.map((box) => [box, [...box.closest("li").querySelectorAll(":scope li input")]]));
  const above = new Map(boxes.map((box) => [box, boxes.filter((other) => below.get(other).includes(box))]));
  // Pages come back from the browser's memory with boxes as they were shown: what a ticked branch covers is not
  // picked by itself, unless the server said so.
  const picked = new Set(
    boxes.filter((box) => box.checked && (box.defaultChecked || !above.get(box).some((branch) => branch.checked))),
  );

  function show() {
    for (const box of boxes) {
      const covered = above.get(box).some((branch) => picked.has(branch));
      box.checked = covered || picked.has(box);
      box.indeterminate = !box.checked && below.get(box).some((part) => picked.has(part));
    }
    tree.dispatchEvent(new CustomEvent("picked", { detail: picked.size }));
  }

  function change(box) {
    if (box.checked) {
      picked.add(box);
      for (const part of below.get(box)) picked.delete(part);
    } else {
      // Without this one, the branches that held it are no longer picked whole: their other parts are.
      for (const branch of above.get(box).filter((found) => picked.has(found))) {
        picked.delete(branch);
        for (const part of below.get(branch)) {
          const kin = part === box || below.get(part).includes(box) || above.get(part).includes(box);
          const within = above.get(part).some((found) => picked.has(found));
          if (!kin && !within) picked.add(part);
        }
      }
      picked.delete(box);
      for (const part of below.get(box)) picked.delete(part);
    }
    show();
  }

  tree.addEventListener("change", (event) => {
    if (boxes.includes(event.target)) change(event.target);
  });
  tree.closest("form").addEventListener("formdata", (event) => {
    for (const name of new Set(boxes.map((box) => box.name))) event.formData.delete(name);
    for (const box of picked) event.formData.append(box.name, box.value);
  });
  if (tree.dataset.filter) finder(tree, boxes, picked, show);
  show();
}

// Type to find: what does not match is hidden, and what does is laid open.
function finder(tree, boxes, picked, show) {
  const details = [...tree.querySelectorAll("details")];
  const plain = (text) => text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase().replace(/[’']/g, "'");
  const words = new Map(boxes.map((box) => [box, plain(box.closest("label").textContent.trim())]));
  const bar = document.createElement("div");
  bar.className = "finder";
  const label = document.createElement("label");
  label.textContent = tree.dataset.filter;
  const input = document.createElement("input");
  Object.assign(input, { type: "search", id: "find-place", autocomplete: "off" });
  input.spellcheck = false;
  label.htmlFor = input.id;
  const row = document.createElement("div");
  row.className = "row";
  const text = document.createElement("p");
  text.setAttribute("role", "status");
  const clear = document.createElement("button");
  clear.type = "button";
  clear.className = "link";
  clear.textContent = tree.dataset.clear;
  row.append(text, clear);
  bar.append(label, input, row);
  tree.prepend(bar);
  let open = null;

  function find() {
    const word = plain(input.value.trim());
    if (word && !open) open = details.filter((part) => part.open);
    let any = false;
    for (const box of boxes) box.closest("li").hidden = Boolean(word);
    for (const box of word ? boxes : []) {
      if (!words.get(box).includes(word)) continue;
      any = true;
      for (let li = box.closest("li"); li; li = li.parentElement.closest("li")) li.hidden = false;
      for (const part of box.closest("li").querySelectorAll("li")) part.hidden = false;
    }
    if (word) for (const part of details) part.open = Boolean(part.querySelector("li:not([hidden])"));
    else if (open) {
      for (const part of details) part.open = open.includes(part);
      open = null;
    }
    tell(word && !any);
  }

  function tell(none) {
    text.textContent = none ? tree.dataset.none : picked.size ? tree.dataset.count.replace("#", picked.size) : "";
    clear.hidden = !picked.size;
  }

  input.addEventListener("input", find);
  input.addEventListener("keydown", (event) => {
    // Enter in here must not send the form.
    if (event.key === "Enter") event.preventDefault();
    if (event.key === "Escape" && input.value) {
      input.value = "";
      find();
    }
  });
  clear.addEventListener("click", () => {
    picked.clear();
    show();
    input.focus();
    tree.dispatchEvent(new Event("change", { bubbles: true }));
  });
  tree.addEventListener("picked", () => tell(false));
}

// The browser knows the zone that the reader lives by, perhaps under an older name.
function guess(select) {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  if (!zone || zone === select.value) return;
  const known = [...select.options].find((option) => option.value === zone);
  if (known) known.selected = true;
  else select.add(new Option(zone.replaceAll("_", " "), zone, true, true), 1);
}

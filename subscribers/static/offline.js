// A form that is sent without a connection would be lost to the browser's own page: it says so instead, and waits.
"use strict";

const words = document.currentScript.dataset.words;

document.addEventListener("submit", (event) => {
  const form = event.target;
  form.querySelector(":scope > .offline")?.remove();
  if (navigator.onLine) return;
  event.preventDefault();
  const note = document.createElement("p");
  note.className = "warn offline";
  note.setAttribute("role", "alert");
  note.textContent = words;
  form.append(note);
});
addEventListener("online", () => document.querySelectorAll(".offline").forEach((note) => note.remove()));

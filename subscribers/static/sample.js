// The preview beside the form follows what is picked; and what went wrong is read first.
"use strict";

const summary = document.getElementById("summary");
if (summary) summary.focus();

for (const card of document.querySelectorAll("[data-sample]")) follow(card);

function follow(card) {
  const form = card.closest("form");
  const place = card.querySelector("[role=status]");
  let waiting;
  let asked;

  function picks() {
    const query = new URLSearchParams();
    for (const [name, value] of new FormData(form)) {
      // Who asks is nobody's business: the address of a preview stands in logs.
      if (!["email", "name", "website", "moment", "preview"].includes(name)) query.append(name, value);
    }
    return query.toString();
  }

  async function refresh() {
    const query = picks();
    if (query === asked) return;
    asked = query;
    let text;
    try {
      const answer = await fetch(`${card.dataset.sample}?${query}`, { credentials: "omit" });
      if (!answer.ok) return;
      text = await answer.text();
    } catch {
      // Offline: what is shown stays, and the next change asks again.
      asked = undefined;
      return;
    }
    if (query !== asked) return;
    const fresh = new DOMParser().parseFromString(text, "text/html").getElementById("sample");
    if (!fresh) return;
    const open = place.querySelector("details")?.open ?? false;
    const details = fresh.querySelector("details");
    if (details) details.open = open;
    place.replaceChildren(document.importNode(fresh, true));
  }

  function soon() {
    clearTimeout(waiting);
    waiting = setTimeout(refresh, 300);
  }

  form.addEventListener("change", (event) => {
    if (!["email", "name"].includes(event.target.name)) soon();
  });
  addEventListener("pageshow", soon);
}

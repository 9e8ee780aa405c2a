"use strict";
// Looks every three seconds whether something new has arrived, and then puts the fresh list in place of the old one.
const query = new URLSearchParams(location.search).get("q") ?? "";
const status = document.getElementById("status");

async function look() {
  const old = document.getElementById("messages");
  if (document.hidden || old.dataset.page !== "1") return;
  const answer = await fetch("/api/messages?" + new URLSearchParams({ q: query, limit: 1 }));
  if (!answer.ok) return;
  const { total, messages } = await answer.json();
  if (total === Number(old.dataset.total) && (messages[0]?.id ?? 0) === Number(old.dataset.newest)) return;
  const page = await fetch(location.href);
  if (!page.ok) return;
  const fresh = new DOMParser().parseFromString(await page.text(), "text/html");
  const focused = document.activeElement?.getAttribute("href");
  old.replaceWith(fresh.getElementById("messages"));
  document.title = fresh.title;
  if (focused) document.querySelector(`#messages a[href="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  const more = total - Number(old.dataset.total);
  if (more > 0) status.textContent = more === 1 ? "1 new message" : `${more} new messages`;
}

setInterval(() => look().catch(() => {}), 3000);

// Asks each second whether a file was saved, and then shows the mail anew.
const { kind, language } = document.querySelector("main").dataset;
const [subject, preheader, faults, shipped, text] = ["subject", "preheader", "faults", "shipped", "text"].map((id) =>
  document.getElementById(id),
);
let version = "";

function tell(found) {
  const entry = document.createElement("li");
  entry.className = found.warning ? "warning" : "error";
  entry.textContent = `${found.place}: ${found.found} ${found.mend}`;
  return entry;
}

async function look() {
  try {
    const state = await (await fetch(`/state/${kind}/${language}`)).json();
    if (state.version !== version) {
      if (version) {
        for (const frame of document.querySelectorAll("iframe")) frame.src = frame.getAttribute("src");
      }
      version = state.version;
      for (const one of [subject, preheader, text]) one.textContent = state[one.id];
      shipped.hidden = !state.shipped;
      faults.replaceChildren(...state.faults.map(tell));
    }
  } catch {
    version = "away";
    subject.textContent = "The preview was stopped.";
    preheader.textContent = "";
  }
  setTimeout(look, 1000);
}

look();

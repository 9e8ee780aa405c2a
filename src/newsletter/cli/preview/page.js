// Asks each second whether a file was saved, and then shows the mail anew.
const { kind, language } = document.querySelector("main").dataset;
const subject = document.getElementById("subject");
const faults = document.getElementById("faults");
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
      subject.textContent = state.subject;
      faults.replaceChildren(...state.faults.map(tell));
    }
  } catch {
    version = "away";
    subject.textContent = "The preview was stopped.";
  }
  setTimeout(look, 1000);
}

look();

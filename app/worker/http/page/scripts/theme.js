// Light or dark as the system has it, or as it was chosen here. It runs before anything is drawn, so that nothing flashes.
"use strict";
try {
  const chosen = localStorage.getItem("tally-theme");
  if (chosen) document.documentElement.dataset.theme = chosen;
} catch {
  // A browser that keeps nothing: as the system has it.
}

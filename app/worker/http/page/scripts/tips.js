// Shows what a word means beside it: where it is pointed at, has the focus, or is touched. Escape hides it.
const MARGIN = 8;

export function watchTips() {
  const tip = document.createElement("div");
  tip.id = "tip";
  tip.role = "tooltip";
  tip.hidden = true;
  document.body.append(tip);
  let shown = null;

  const hide = () => {
    shown?.removeAttribute("aria-describedby");
    shown = null;
    tip.hidden = true;
  };
  const show = ({ target }) => {
    const word = target.closest?.("[data-tip]") ?? null;
    if (word === shown || target === tip) return;
    hide();
    if (!word) return;
    shown = word;
    tip.textContent = word.dataset.tip;
    tip.hidden = false;
    word.setAttribute("aria-describedby", tip.id);
    const at = word.getBoundingClientRect();
    const size = tip.getBoundingClientRect();
    const left = Math.min(at.left, document.documentElement.clientWidth - size.width - MARGIN);
    const below = at.bottom + size.height + MARGIN < window.innerHeight;
    tip.style.left = `${Math.max(MARGIN, left)}px`;
    tip.style.top = `${below ? at.bottom + 4 : Math.max(MARGIN, at.top - size.height - 4)}px`;
  };
  document.addEventListener("mouseover", show);
  document.addEventListener("focusin", show);
  document.addEventListener("focusout", hide);
  document.addEventListener("scroll", hide, true);
  document.addEventListener("keydown", event => event.key === "Escape" && hide());
}

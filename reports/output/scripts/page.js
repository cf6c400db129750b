"use strict";
/* Start: the chart first, then what can wait. */
VD.start();
setTimeout(() => {
  for (const table of document.querySelectorAll("table.data")) VD.enhance(table);
  VD.everything();
  VD.follow();
  addEventListener("hashchange", VD.follow);
  /* Closed parts are printed open where the page says so. */
  addEventListener("beforeprint", () => { for (const one of document.querySelectorAll("details.printed")) one.open = true; });
  document.documentElement.dataset.ready = "yes";
}, 0);

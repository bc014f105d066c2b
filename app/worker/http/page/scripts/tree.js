// The page is a tree that is drawn anew whenever anything has changed. What comes from events becomes text nodes and
// attributes of it: nothing is ever read as HTML.
export const { h, Component, render } = window.preact;

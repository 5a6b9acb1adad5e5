/** The few icons in use, drawn as strokes on a 24-unit square. Decorative: the control that holds one carries the words. */
import type { CSSProperties } from "react";

const PATHS = {
  home: "M4 11l8-7 8 7M6 9.5V20h12V9.5",
  label: "M4 7h16M4 12h10M4 17h7M16 16l2 2 4-5",
  review: "M12 5c5 0 9 7 9 7s-4 7-9 7-9-7-9-7 4-7 9-7zM12 9.5a2.5 2.5 0 100 5 2.5 2.5 0 000-5z",
  project: "M4 6h6l2 2h8v11H4z",
  people: "M9 11a3.5 3.5 0 100-7 3.5 3.5 0 000 7zM3 20c0-3.5 2.7-6 6-6s6 2.5 6 6M16 4.5a3.5 3.5 0 010 6.5M18 14.5c1.9.8 3 2.8 3 5.5",
  playground: "M4 5h7v14H4zM13 5h7v14h-7z",
  arena: "M5 4l9 9M19 4l-9 9M8 15l-4 4M16 15l4 4M6 13l5 5M18 13l-5 5",
  chat: "M4 5h16v11H10l-5 4v-4H4z",
  runs: "M4 19V5M4 19h16M7 15l4-5 3 3 5-7",
  account: "M12 12a4 4 0 100-8 4 4 0 000 8zM4 20c0-4 3.6-6 8-6s8 2 8 6",
  sun: "M12 8a4 4 0 100 8 4 4 0 000-8zM12 2v2M12 20v2M2 12h2M20 12h2M5 5l1.4 1.4M17.6 17.6L19 19M19 5l-1.4 1.4M6.4 17.6L5 19",
  moon: "M20 14.5A8 8 0 019.5 4a8 8 0 1010.5 10.5z",
  undo: "M9 7L4 12l5 5M4 12h10a5 5 0 015 5v1",
  skip: "M5 5l8 7-8 7zM18 5v14",
  help: "M12 3a9 9 0 100 18 9 9 0 000-18zM9.5 9.5a2.5 2.5 0 115 0c0 1.7-2.5 2-2.5 4M12 17v.01",
  book: "M4 5c3-1 6-1 8 1 2-2 5-2 8-1v13c-3-1-6-1-8 1-2-2-5-2-8-1zM12 6v13",
  check: "M5 13l5 5L20 7",
  close: "M6 6l12 12M18 6L6 18",
  grip: "M9 6v.01M15 6v.01M9 12v.01M15 12v.01M9 18v.01M15 18v.01",
  up: "M7 11v9H4v-9zM7 11l4-8c1.7 0 2.5 1.3 2.5 2.5V9H19c1.2 0 2 1 1.8 2.2l-1.3 7C19.3 19.3 18.5 20 17.5 20H7",
  down: "M17 13V4h3v9zM17 13l-4 8c-1.7 0-2.5-1.3-2.5-2.5V15H5c-1.2 0-2-1-1.8-2.2l1.3-7C4.7 4.7 5.5 4 6.5 4H17",
  edit: "M4 20h4L19 9l-4-4L4 16zM13 7l4 4",
  again: "M20 11a8 8 0 10-2 6M20 4v7h-7",
  stop: "M6 6h12v12H6z",
  play: "M7 4l13 8-13 8z",
  plus: "M12 5v14M5 12h14",
  copy: "M8 8h12v12H8zM16 8V4H4v12h4",
  download: "M12 4v11M7 11l5 5 5-5M4 20h16",
  share: "M12 15V4M8 8l4-4 4 4M5 12v8h14v-8",
  menu: "M4 7h16M4 12h16M4 17h16",
  trash: "M5 7h14M9 7V4h6v3M7 7l1 13h8l1-13",
  warn: "M12 4l9 16H3zM12 10v4M12 17v.01",
  left: "M15 5l-7 7 7 7",
  right: "M9 5l7 7-7 7",
  more: "M5 12v.01M12 12v.01M19 12v.01",
  send: "M4 12l16-8-6 16-3-7z",
};

export type IconName = keyof typeof PATHS;

export function Icon({ name, size = 18, style }: { name: IconName; size?: number; style?: CSSProperties }) {
  return (
    <svg width={size} height={size} viewBox="0 0 24 24" fill="none" stroke="currentColor" strokeWidth={1.8} strokeLinecap="round" strokeLinejoin="round" aria-hidden="true" focusable="false" style={{ flex: "none", ...style }}>
      <path d={PATHS[name]} />
    </svg>
  );
}

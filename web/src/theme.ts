/** The look: one accent ("lake"), calm greys, system fonts. Every pair of colours used for text passes WCAG AA in light and dark. */
import { createTheme, type MantineColorsTuple } from "@mantine/core";

const lake: MantineColorsTuple = [
  "#e6f6f8", "#d3e9ed", "#a7d2d9", "#79bac4", "#54a6b3", "#3c99a8", "#2c8d9d", "#1a7787", "#0b6473", "#00525f",
];

const dark: MantineColorsTuple = [
  "#d6dadd", "#b6bcc1", "#a3abb1", "#6f7880", "#424a51", "#333a40", "#262c31", "#1b2024", "#14181b", "#0e1113",
];

/** Mantine's own, with a last shade dark enough to stand behind white text. */
const orange: MantineColorsTuple = [
  "#fff4e6", "#ffe8cc", "#ffd8a8", "#ffc078", "#ffa94d", "#ff922b", "#fd7e14", "#f76707", "#e8590c", "#b23c08",
];

export const theme = createTheme({
  primaryColor: "lake",
  primaryShade: { light: 8, dark: 7 },
  colors: { lake, dark, orange },
  defaultRadius: "md",
  autoContrast: true,
  cursorType: "pointer",
  fontFamily: "ui-sans-serif, system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif",
  fontFamilyMonospace: "ui-monospace, SFMono-Regular, Menlo, Consolas, 'Liberation Mono', monospace",
  headings: {
    fontWeight: "650",
    sizes: {
      h1: { fontSize: "1.625rem", lineHeight: "1.25" },
      h2: { fontSize: "1.2rem", lineHeight: "1.3" },
      h3: { fontSize: "1rem", lineHeight: "1.4" },
    },
  },
  components: {
    Badge: { styles: { root: { maxWidth: "none", flexShrink: 0 }, label: { overflow: "visible" } } }, // a word of state is never cut
    Card: { defaultProps: { withBorder: true, radius: "lg", padding: "lg" } },
    Modal: { defaultProps: { centered: true, radius: "lg", closeButtonProps: { "aria-label": "Close" } } },
    Drawer: { defaultProps: { closeButtonProps: { "aria-label": "Close" } } },
    Tooltip: { defaultProps: { withArrow: true, openDelay: 350 } },
    Table: { defaultProps: { verticalSpacing: "sm" } },
    TableScrollContainer: { defaultProps: { scrollAreaProps: { offsetScrollbars: false, viewportProps: { tabIndex: 0 } } } }, // so that keys scroll it
  },
});

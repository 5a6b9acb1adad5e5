/** Text of people and models. Untrusted: Markdown without HTML, no script, no remote image; links open apart and tell nobody where from. */
import { Anchor } from "@mantine/core";
import { memo } from "react";
import Markdown, { type Components } from "react-markdown";
import remarkGfm from "remark-gfm";
import type { Message } from "../types";

const SAFE_LINK = /^(https?:|mailto:)/i;

const components: Components = {
  a: ({ href, children }) =>
    href && SAFE_LINK.test(href) ? (
      <Anchor href={href} target="_blank" rel="noopener noreferrer nofollow" underline="always">{children}</Anchor>
    ) : (
      <span>{children}</span>
    ),
  img: ({ alt }) => <span>[image: {alt || "without description"}]</span>,
  input: ({ checked }) => <span aria-label={checked ? "done" : "open"}>{checked ? "☑ " : "☐ "}</span>,
  pre: ({ children }) => <pre tabIndex={0}>{children}</pre>,
};

export const Prose = memo(function Prose({ text, live = false }: { text: string; live?: boolean }) {
  return (
    <div className={live ? "prose caret" : "prose"}>
      <Markdown remarkPlugins={[remarkGfm]} components={components}>{text}</Markdown>
    </div>
  );
});

const NAMES: Record<string, string> = { user: "Person", assistant: "Assistant", system: "System", text: "Text" };

export function Messages({ messages }: { messages: Message[] }) {
  return (
    <div>
      {messages.map((message, i) => (
        <div className="message" key={i}>
          <div className="who">{NAMES[message.role] ?? message.role}</div>
          <Prose text={message.content} />
        </div>
      ))}
    </div>
  );
}

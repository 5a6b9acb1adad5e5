/** The token inspector: a response token by token, coloured by a figure; a token chosen shows all of its figures. */
import { Chip, Group, Table, Text } from "@mantine/core";
import { useState } from "react";
import { figure } from "../parts/tell";
import type { Token } from "../types";

const FIGURES = { kl: "KL to the reference", logprob: "Log-prob", ref_logprob: "Reference log-prob", value: "Value", reward: "Reward", advantage: "Advantage" } as const;
type Name = keyof typeof FIGURES;

export function TokenInspector({ tokens }: { tokens: Token[] }) {
  const there = (Object.keys(FIGURES) as Name[]).filter((name) => tokens.some((t) => typeof t[name] === "number"));
  const [by, setBy] = useState<Name>(there[0] ?? "kl");
  const [at, setAt] = useState(0);
  const most = Math.max(1e-9, ...tokens.map((t) => Math.abs(t[by] ?? 0)));
  const colour = (token: Token) => {
    const value = token[by];
    if (typeof value !== "number") return "transparent";
    const share = Math.round((60 * Math.abs(value)) / most);
    return `color-mix(in srgb, ${value >= 0 ? "light-dark(#f59f6a, #a34714)" : "light-dark(#7cc0f0, #14558a)"} ${share}%, transparent)`;
  };
  const token = tokens[at];
  const onKey = (event: React.KeyboardEvent) => {
    const move = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
    if (!move) return;
    event.preventDefault();
    const to = Math.max(0, Math.min(tokens.length - 1, at + move));
    setAt(to);
    (event.currentTarget.children[to] as HTMLElement | undefined)?.focus();
  };
  if (there.length === 0) return <Text size="sm" c="dimmed">No figures were kept for these tokens.</Text>;
  return (
    <div>
      <Group justify="space-between" mb="xs"><Chip.Group value={by} onChange={(value) => setBy(value as Name)}><Group gap={6} role="radiogroup" aria-label="Colour by">{there.map((name) => <Chip key={name} size="xs" variant="outline" value={name}>{FIGURES[name]}</Chip>)}</Group></Chip.Group><Text size="xs" c="dimmed">orange above zero, blue below; strongest ±{figure(most)}</Text></Group>
      <div role="group" aria-label="Tokens; arrow keys move" onKeyDown={onKey} style={{ lineHeight: 1.9, overflowWrap: "anywhere" }} data-testid="tokens">
        {tokens.map((t, i) => <button key={i} type="button" className="token" tabIndex={i === at ? 0 : -1} aria-pressed={i === at} style={{ background: colour(t), opacity: t.own === false ? 0.55 : 1 }} onClick={() => setAt(i)}>{t.text.replaceAll("\n", "⏎\n") || "∅"}</button>)}
      </div>
      {token && (
        <Table mt="sm" maw={420} verticalSpacing={4} aria-label="Figures of the chosen token">
          <Table.Tbody>
            <Table.Tr><Table.Th>Token {at + 1} of {tokens.length}</Table.Th><Table.Td ff="monospace">{JSON.stringify(token.text)}</Table.Td></Table.Tr>
            {there.map((name) => <Table.Tr key={name}><Table.Th fw={400}>{FIGURES[name]}</Table.Th><Table.Td className="tabular">{figure(token[name])}</Table.Td></Table.Tr>)}
          </Table.Tbody>
        </Table>
      )}
    </div>
  );
}

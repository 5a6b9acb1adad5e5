/** The frame around every page: where one can go, who one is, light or dark. */
import { ActionIcon, AppShell, Box, Burger, Group, Menu, NavLink, Text, Tooltip, UnstyledButton, useComputedColorScheme, useMantineColorScheme } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { useEffect, type ReactNode } from "react";
import { Link, useLocation, useNavigate } from "react-router";
import { adopt, post } from "./api";
import { Icon, type IconName } from "./icons";
import { tellError } from "./parts/tell";
import { atLeast, ROLE_NAMES, useSession, useUser } from "./session";
import type { Role, Session } from "./types";

const PLACES: { to: string; label: string; icon: IconName; role: Role }[] = [
  { to: "/", label: "Home", icon: "home", role: "chat" },
  { to: "/chat", label: "Chat", icon: "chat", role: "chat" },
  { to: "/arena", label: "Arena", icon: "arena", role: "chat" },
  { to: "/playground", label: "Playground", icon: "playground", role: "reviewer" },
  { to: "/projects", label: "Projects", icon: "project", role: "reviewer" },
  { to: "/runs", label: "Runs", icon: "runs", role: "reviewer" },
  { to: "/people", label: "People", icon: "people", role: "administrator" },
];

export function Brand() {
  return (
    <Group gap={8} wrap="nowrap">
      <img src="/favicon.svg" width={26} height={26} alt="" />
      <Text fw={700} size="lg" style={{ letterSpacing: "-0.01em" }}>amenable</Text>
    </Group>
  );
}

export function SchemeButton() {
  const { setColorScheme } = useMantineColorScheme();
  const dark = useComputedColorScheme("light") === "dark";
  const label = dark ? "Light colours" : "Dark colours";
  return (
    <Tooltip label={label}>
      <ActionIcon variant="subtle" color="gray" size="lg" aria-label={label} onClick={() => setColorScheme(dark ? "light" : "dark")} c="inherit">
        <Icon name={dark ? "sun" : "moon"} />
      </ActionIcon>
    </Tooltip>
  );
}

export function Shell({ children }: { children: ReactNode }) {
  const user = useUser();
  const { workspace } = useSession();
  const location = useLocation();
  const navigate = useNavigate();
  const [opened, { toggle, close }] = useDisclosure();
  const focused = location.pathname.startsWith("/label/"); // labelling wants the whole width
  useEffect(close, [location.pathname, close]);
  const signOut = () => void post<Session>("/api/sign-out").then((session) => (navigate("/", { replace: true }), adopt(session))).catch(tellError);
  const isHere = (to: string) => (to === "/" ? location.pathname === "/" : location.pathname.startsWith(to.replace(/s$/, "")) || (to === "/projects" && location.pathname.startsWith("/review/")));
  return (
    <AppShell header={{ height: 56 }} navbar={{ width: 208, breakpoint: "sm", collapsed: { mobile: !opened, desktop: focused && !opened } }} padding="lg">
      <a className="skip-link" href="#main">To the content</a>
      <AppShell.Header px="md" style={{ background: "var(--card)" }}>
        <Group h="100%" justify="space-between" wrap="nowrap">
          <Group gap="sm" wrap="nowrap">
            <Burger opened={opened} onClick={toggle} hiddenFrom={focused ? undefined : "sm"} size="sm" aria-label={opened ? "Close the menu" : "Open the menu"} />
            <Link to="/" style={{ color: "inherit", textDecoration: "none" }} aria-label="amenable, home"><Brand /></Link>
            <Text c="dimmed" size="sm" className="hide-phone" truncate maw={220}>{workspace}</Text>
          </Group>
          <Group gap={4} wrap="nowrap">
            <SchemeButton />
            <Menu position="bottom-end" width={220}>
              <Menu.Target>
                <UnstyledButton px="xs" py={6} aria-label={`Account of ${user.name}`}>
                  <Group gap={8} wrap="nowrap"><Icon name="account" /><Text size="sm" truncate maw={140} className="hide-phone">{user.name}</Text></Group>
                </UnstyledButton>
              </Menu.Target>
              <Menu.Dropdown>
                <Menu.Label>{user.name} · {ROLE_NAMES[user.role]}</Menu.Label>
                <Menu.Item onClick={() => navigate("/account")}>Account and consent</Menu.Item>
                <Menu.Item onClick={signOut}>Sign out</Menu.Item>
              </Menu.Dropdown>
            </Menu>
          </Group>
        </Group>
      </AppShell.Header>
      <AppShell.Navbar p="sm" style={{ background: "var(--card)" }} aria-label="Main">
        {PLACES.filter((place) => atLeast(user, place.role)).map((place) => (
          <NavLink key={place.to} component={Link} to={place.to} label={place.label} leftSection={<Icon name={place.icon} />} active={isHere(place.to)} aria-current={isHere(place.to) ? "page" : undefined} variant="subtle" fw={isHere(place.to) ? 650 : 450} style={{ borderRadius: 8, ...(isHere(place.to) ? { background: "var(--accent-soft)", color: "var(--accent)" } : {}) }} />
        ))}
      </AppShell.Navbar>
      <AppShell.Main>
        <Box id="main" tabIndex={-1} style={{ outline: "none" }}>{children}</Box>
      </AppShell.Main>
    </AppShell>
  );
}

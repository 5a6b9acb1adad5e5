/** Routes. Each page is loaded when it is first opened. */
import { lazy, Suspense, useRef } from "react";
import { Navigate, Outlet, Route, Routes, useLocation } from "react-router";
import { Page } from "./parts/page";
import { Waiting } from "./parts/states";
import { atLeast, SessionProvider, useSession } from "./session";
import { Shell } from "./shell";
import type { Role } from "./types";

const SignIn = lazy(() => import("./pages/sign-in"));
const Invite = lazy(() => import("./pages/invite"));
const Home = lazy(() => import("./pages/home"));
const Label = lazy(() => import("./pages/label"));
const Me = lazy(() => import("./pages/me"));
const Account = lazy(() => import("./pages/account"));
const Chat = lazy(() => import("./pages/chat"));
const Arena = lazy(() => import("./pages/arena"));
const Playground = lazy(() => import("./pages/playground"));
const Projects = lazy(() => import("./pages/projects"));
const Project = lazy(() => import("./pages/project"));
const Review = lazy(() => import("./pages/review"));
const ReviewTask = lazy(() => import("./pages/review-task"));
const Runs = lazy(() => import("./pages/runs"));
const Run = lazy(() => import("./pages/run"));
const Compare = lazy(() => import("./pages/compare"));
const NewRun = lazy(() => import("./pages/new-run"));
const People = lazy(() => import("./pages/people"));

function Inside() {
  const { user } = useSession();
  const location = useLocation();
  const last = useRef<number | null>(null);
  if (!user) return <Navigate to="/sign-in" replace state={{ from: location.pathname + location.search, of: last.current }} />;
  last.current = user.id;
  return <Shell><Suspense fallback={<Waiting />}><Outlet /></Suspense></Shell>;
}

function For({ role }: { role: Role }) {
  const { user } = useSession();
  if (user && !atLeast(user, role)) return <Page title="This page is not for your role">Ask an administrator if you need it.</Page>;
  return <Outlet />;
}

export function App() {
  return (
    <SessionProvider>
      <Suspense fallback={<Waiting />}>
        <Routes>
          <Route path="/sign-in" element={<SignIn />} />
          <Route path="/invite/:token" element={<Invite />} />
          <Route element={<Inside />}>
            <Route index element={<Home />} />
            <Route path="account" element={<Account />} />
            <Route path="chat" element={<Chat />} />
            <Route path="chat/:id" element={<Chat />} />
            <Route path="arena" element={<Arena />} />
            <Route element={<For role="labeler" />}>
              <Route path="label/:project" element={<Label />} />
              <Route path="me/:project" element={<Me />} />
            </Route>
            <Route element={<For role="reviewer" />}>
              <Route path="playground" element={<Playground />} />
              <Route path="projects" element={<Projects />} />
              <Route path="project/:project" element={<Project />} />
              <Route path="review/:project" element={<Review />} />
              <Route path="review/:project/:task" element={<ReviewTask />} />
              <Route path="runs" element={<Runs />} />
              <Route path="runs/compare" element={<Compare />} />
              <Route path="runs/:name" element={<Run />} />
            </Route>
            <Route element={<For role="administrator" />}>
              <Route path="runs/new" element={<NewRun />} />
              <Route path="people" element={<People />} />
            </Route>
            <Route path="*" element={<Page title="There is no such page">The address may be mistyped.</Page>} />
          </Route>
        </Routes>
      </Suspense>
    </SessionProvider>
  );
}

/** The models of the workspace. */
import { useQuery } from "@tanstack/react-query";
import { get } from "../api";
import type { Models } from "../types";

export function useModels() {
  return useQuery({ queryKey: ["models"], queryFn: () => get<Models>("/api/models"), staleTime: 30_000 });
}

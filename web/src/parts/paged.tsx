/** Lists that are longer than what is shown: a part at a time, and the button for the next. */
import { Button, Group, Text } from "@mantine/core";
import { keepPreviousData, useInfiniteQuery } from "@tanstack/react-query";
import { get } from "../api";
import type { Part } from "../types";

const AT_ONCE = 200;

/** `path` has its own question mark; the part wanted is added to it. */
export function usePaged<T>(key: unknown[], path: string) {
  return useInfiniteQuery({
    queryKey: key,
    queryFn: ({ pageParam }) => get<Part<T>>(`${path}&limit=${AT_ONCE}&offset=${pageParam}`),
    initialPageParam: 0,
    getNextPageParam: (last, all) => {
      const shown = all.reduce((sum, part) => sum + part.items.length, 0);
      return last.items.length > 0 && shown < last.total ? shown : undefined;
    },
    select: ({ pages }): Part<T> => ({ items: pages.flatMap((part) => part.items), total: pages[pages.length - 1].total }),
    placeholderData: keepPreviousData,
  });
}

export function More({ query, shown, total }: { query: { hasNextPage: boolean; isFetchingNextPage: boolean; fetchNextPage: () => unknown }; shown: number; total: number }) {
  if (!query.hasNextPage) return null;
  return (
    <Group justify="center" p="sm" gap="sm">
      <Text size="sm" c="dimmed" className="tabular">{shown.toLocaleString("en")} of {total.toLocaleString("en")}</Text>
      <Button size="xs" variant="default" loading={query.isFetchingNextPage} onClick={() => void query.fetchNextPage()}>Show more</Button>
    </Group>
  );
}

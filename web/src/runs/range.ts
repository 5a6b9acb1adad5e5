/** What a chart's vertical axis spans. */
import uPlot from "uplot";

const FLAT = 1e-5;

/** From the least and the greatest value. Values that agree in their first five digits are drawn as one line: uPlot would round
 *  both ends to the same number and then count marks from the one to the other without end (1 and 1.0000001 are neighbours in float32). */
export function span(least: number | null, greatest: number | null): [number, number] | [null, null] {
  if (least === null || greatest === null) return [null, null];
  const flat = greatest - least < FLAT * Math.max(Math.abs(least), Math.abs(greatest));
  return uPlot.rangeNum(flat ? greatest : least, greatest, 0.1, true) as [number, number];
}

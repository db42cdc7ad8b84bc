import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { MINUTES_PER_DAY, type Rate, RateSchedule } from './rate-schedule.ts';

const at = (hour: number, minute = 0, day = 3): number =>
  new Date(2026, 5, day, hour, minute).getTime();
const hours = (from: number, to: number): Rate['hours'] => ({
  fromMinute: from * 60,
  toMinute: to * 60,
});

test('without hours a rate is for all time, and without rates nothing is limited', () => {
  assert.equal(new RateSchedule([]).passedAt(at(3), 1e12), at(3));
  assert.equal(
    new RateSchedule([{ bytesPerSecondMax: 100 }]).passedAt(at(3), 86_400_00),
    at(3, 0, 4),
  );
});

test('in its hours a rate holds; what is left then passes at the next one', () => {
  const office: Rate = { bytesPerSecondMax: 1, hours: hours(8, 18) };
  const free = new RateSchedule([office]);
  assert.equal(free.passedAt(at(7), 1e9), at(7));
  assert.equal(free.passedAt(at(8), 60), at(8, 1));
  assert.equal(free.passedAt(at(17, 59), 1e9), at(18));
  const slow = new RateSchedule([{ bytesPerSecondMax: 10 }, office]);
  assert.equal(slow.passedAt(at(7, 59), 600 + 60), at(8, 1));
  assert.equal(slow.passedAt(at(17, 59), 60 + 600), at(18, 1));
});

test('hours may go over midnight, and the first of several rates counts', () => {
  const night: Rate = { bytesPerSecondMax: 1, hours: hours(22, 6) };
  const schedule = new RateSchedule([night, { bytesPerSecondMax: 5, hours: hours(0, 24) }]);
  assert.equal(schedule.passedAt(at(23), 3 * 3600), at(2, 0, 4));
  assert.equal(schedule.passedAt(at(5, 59), 60 + 300), at(6, 1));
  assert.equal(schedule.passedAt(at(22), 1), at(22) + 1000);
});

test('no more passes than the slowest rate forbids, nor less than the fastest allows', () => {
  const minute = fc.integer({ min: 0, max: MINUTES_PER_DAY - 1 });
  const rate = fc.record({
    bytesPerSecondMax: fc.integer({ min: 1, max: 1000 }),
    hours: fc.record({ fromMinute: minute, toMinute: minute }),
  });
  fc.assert(
    fc.property(
      fc.array(rate, { maxLength: 4 }),
      fc.integer({ min: 1, max: 1000 }),
      fc.integer({ min: 0, max: 3e8 }),
      fc.integer({ min: 0, max: 1e8 }),
      (rates, otherwise, startMs, sizeBytes) => {
        const all = [...rates.map(({ bytesPerSecondMax }) => bytesPerSecondMax), otherwise];
        const schedule = new RateSchedule([...rates, { bytesPerSecondMax: otherwise }]);
        const seconds = (schedule.passedAt(startMs, sizeBytes) - startMs) / 1000;
        assert.ok(seconds >= sizeBytes / Math.max(...all) - 0.01);
        assert.ok(seconds <= sizeBytes / Math.min(...all) + 0.01);
      },
    ),
  );
});

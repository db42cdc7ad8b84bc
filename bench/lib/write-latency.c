/*
 * Overwrites random blocks of 4 KiB of a file, each safe on the disk before the next, and prints how
 * long the writes took: write-latency FILE SECONDS. It runs in a guest that has no more than a shell.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define BLOCK_BYTES 4096
#define WRITE_COUNT_MAX (1 << 20)

static uint32_t tookUs[WRITE_COUNT_MAX];

static uint64_t nowUs(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static int ascending(const void *one, const void *other) {
  uint32_t a = *(const uint32_t *)one, b = *(const uint32_t *)other;
  return (a > b) - (a < b);
}

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  int file = open(argv[1], O_WRONLY | O_DSYNC);
  struct stat status;
  if (file < 0 || fstat(file, &status) != 0 || status.st_size < BLOCK_BYTES) return 1;
  uint64_t endUs = nowUs() + strtoull(argv[2], NULL, 10) * 1000000;
  uint32_t block[BLOCK_BYTES / 4];
  uint64_t random = 88172645463325252ull;
  size_t count = 0;
  while (nowUs() < endUs && count < WRITE_COUNT_MAX) {
    for (size_t word = 0; word < BLOCK_BYTES / 4; word++) {
      random ^= random << 13;
      random ^= random >> 7;
      random ^= random << 17;
      block[word] = (uint32_t)random;
    }
    off_t offset = (off_t)(random % (status.st_size / BLOCK_BYTES)) * BLOCK_BYTES;
    uint64_t startedUs = nowUs();
    if (pwrite(file, block, BLOCK_BYTES, offset) != BLOCK_BYTES) return 1;
    tookUs[count++] = (uint32_t)(nowUs() - startedUs);
  }
  qsort(tookUs, count, sizeof *tookUs, ascending);
  printf("{\"writes\":%zu,\"p50Ms\":%.3f,\"p99Ms\":%.3f,\"maxMs\":%.3f}\n", count,
         tookUs[count / 2] / 1e3, tookUs[count * 99 / 100] / 1e3, tookUs[count - 1] / 1e3);
  return 0;
}

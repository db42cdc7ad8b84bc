/**
 * The sectors that partition tables count in, likely ones first: nothing on a disk says how large
 * they are. 4,096 bytes are those of newer disks, and of what enclosures for USB make of older
 * ones; 2,048 those of optical disks and their images.
 */
export const SECTOR_BYTES: readonly number[] = [512, 4096, 2048];

/** Exit codes that are not of an error; those stand in `failures`. */

export const EXIT_DONE = 0;
export const EXIT_FAILED = 1;
export const EXIT_FINDINGS = 3;

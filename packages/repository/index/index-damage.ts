/** The local index says what it cannot say. It is a cache, so nobody is told: it is made anew. */
export class IndexDamage extends Error {}

/* Philox4x64-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011), whose upper counter words are 0.
 *
 * A core multiplies two words of 64 bits in one instruction, which vector units make of many: only with products of 52
 * bits those are faster. There both work at once, on 24 counters and on 8, in three quarters of the time of the vectors
 * alone and half of that of the core alone.
 */

#ifdef HAS_KINDS_OF_CPUS
#include <immintrin.h>
#endif

#define ROUNDS 10
#define FIRST 0xD2E7470EE14C6C93u
#define SECOND 0xCA5A826395121157u
#define VECTORS 3
#define BESIDE 8                        /* counters that the core makes meanwhile: one in each of the first rounds */
#define COUNTERS (8 * VECTORS + BESIDE) /* made at once, though nobody may have asked for the last ones */

#ifdef __SIZEOF_INT128__
INLINE uint64_t upper_half(uint64_t left, uint64_t right) {
    return (uint64_t)(((unsigned __int128)left * right) >> 64);
}
#else
INLINE uint64_t upper_half(uint64_t left, uint64_t right) {
    uint64_t low = (left & 0xffffffff) * (right & 0xffffffff), high = (left >> 32) * (right >> 32);
    uint64_t one = (left >> 32) * (right & 0xffffffff), other = (left & 0xffffffff) * (right >> 32);
    uint64_t carried = one + (low >> 32), middle = other + (carried & 0xffffffff);
    return high + (carried >> 32) + (middle >> 32);
}
#endif

INLINE void philox_one(uint64_t counter, const uint64_t *restrict keys, uint64_t *restrict words) {
    uint64_t a = counter, b = 0, c = 0, d = 0;
#pragma GCC unroll 10
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t left = a, right = c;
        a = upper_half(SECOND, right) ^ b ^ keys[2 * round];
        c = upper_half(FIRST, left) ^ d ^ keys[2 * round + 1];
        b = SECOND * right;
        d = FIRST * left;
    }
    words[0] = a, words[1] = b, words[2] = c, words[3] = d;
}

#ifdef HAS_KINDS_OF_CPUS
#define FOR_WIDE_CPUS __attribute__((target("arch=x86-64-v4,avx512ifma")))
#define LOW_52(number) ((long long)((number) & 0xFFFFFFFFFFFFFu))

/* The upper halves of products with a constant, made of four products of 52 bits by 12: what lies from bit 52 on, and
 * from bit 104 on.
 */
FOR_WIDE_CPUS INLINE __m512i upper_halves(__m512i words, uint64_t constant) {
    __m512i low = _mm512_set1_epi64(LOW_52(constant)), high = _mm512_set1_epi64((long long)(constant >> 52));
    __m512i top = _mm512_srli_epi64(words, 52), none = _mm512_setzero_si512();
    __m512i middle = _mm512_madd52hi_epu64(none, words, low), upper = _mm512_madd52hi_epu64(none, words, high);
    middle = _mm512_madd52lo_epu64(middle, words, high);
    upper = _mm512_madd52hi_epu64(upper, top, low);
    middle = _mm512_madd52lo_epu64(middle, top, low);
    upper = _mm512_madd52lo_epu64(upper, top, high);
    return _mm512_add_epi64(_mm512_srli_epi64(middle, 12), _mm512_slli_epi64(upper, 40));
}

FOR_WIDE_CPUS INLINE __m512i exclusive_or(__m512i one, __m512i other, uint64_t key) {
    return _mm512_ternarylogic_epi64(one, other, _mm512_set1_epi64((long long)key), 0x96);
}

FOR_WIDE_CPUS __attribute__((noinline))
static void philox_many(uint64_t counter, const uint64_t *restrict keys, uint64_t *restrict words) {
    const __m512i first = _mm512_set1_epi64((long long)FIRST), second = _mm512_set1_epi64((long long)SECOND);
    __m512i a[VECTORS], b[VECTORS], c[VECTORS], d[VECTORS];
    for (int at = 0; at < VECTORS; at++) {
        __m512i numbers = _mm512_set_epi64(7, 6, 5, 4, 3, 2, 1, 0);
        a[at] = _mm512_add_epi64(_mm512_set1_epi64((long long)counter + 8 * at), numbers);
        b[at] = c[at] = d[at] = _mm512_setzero_si512();
    }
    for (int round = 0; round < ROUNDS; round++) {
        for (int at = 0; at < VECTORS; at++) {
            __m512i left = a[at], right = c[at];
            a[at] = exclusive_or(upper_halves(right, SECOND), b[at], keys[2 * round]);
            c[at] = exclusive_or(upper_halves(left, FIRST), d[at], keys[2 * round + 1]);
            b[at] = _mm512_mullo_epi64(second, right);
            d[at] = _mm512_mullo_epi64(first, left);
        }
        int beside = 8 * VECTORS + round;
        if (round < BESIDE) philox_one(counter + (uint64_t)beside, keys, words + 4 * beside);
    }
    uint64_t made[4][8 * VECTORS];
    for (int at = 0; at < VECTORS; at++) {
        _mm512_storeu_si512(made[0] + 8 * at, a[at]), _mm512_storeu_si512(made[1] + 8 * at, b[at]);
        _mm512_storeu_si512(made[2] + 8 * at, c[at]), _mm512_storeu_si512(made[3] + 8 * at, d[at]);
    }
    for (int lane = 0; lane < 8 * VECTORS; lane++)
        for (int word = 0; word < 4; word++) words[4 * lane + word] = made[word][lane];
}
#endif

/* The words of the counters from `begin` to `end`, of which there is room for COUNTERS more. */
INLINE void philox(const uint64_t *key, uint64_t begin, uint64_t end, uint64_t *restrict words) {
    uint64_t keys[2 * ROUNDS], at = begin;
    for (int round = 0; round < ROUNDS; round++) {
        keys[2 * round] = key[0] + (uint64_t)round * 0x9E3779B97F4A7C15u;
        keys[2 * round + 1] = key[1] + (uint64_t)round * 0xBB67AE8584CAA73Bu;
    }
#ifdef HAS_KINDS_OF_CPUS
    if (__builtin_cpu_supports("x86-64-v4") && __builtin_cpu_supports("avx512ifma"))
        for (; at + COUNTERS / 2 < end; at += COUNTERS) philox_many(at, keys, words + 4 * (at - begin));
#endif
    for (; at < end; at++) philox_one(at, keys, words + 4 * (at - begin));
}

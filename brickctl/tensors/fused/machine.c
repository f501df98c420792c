/* Runs a formula over one block: a few thousand elements at a time go through all of its steps while they lie in the
 * cache, so that memory is read once and written once, however long the formula is.
 *
 * Every step is the IEEE operation that its name says, in fp64; no compiler may fuse or reorder them (-ffp-contract=off,
 * no -ffast-math), so that the bits are those of the same steps in any other order of blocks, on any CPU, in NumPy or in
 * torch. `machine.py` writes the programs; SOURCE, the beginning of the sha256 of this file and of those that it includes,
 * tells it that the two belong together.
 */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifndef SOURCE
#define SOURCE 0
#endif
#define CHUNK 1024
#define SUMS 4096 /* that are kept of one total: number i of a block is added to sum i % SUMS */
#define WIDEST 32 /* elements of an election at a time */
#define GROUP 32 /* keys of which most often none is looked at twice */
#define INLINE static inline __attribute__((always_inline))

#if defined(__x86_64__) && defined(__GLIBC__) && !defined(ONE_CPU)
#define HAS_KINDS_OF_CPUS
#define FOR_EVERY_CPU __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define FOR_EVERY_CPU
#endif

enum {
    LOAD_F64, LOAD_F32, LOAD_F16, LOAD_BF16,
    LESS_F64, LESS_F32, LESS_F16, LESS_BF16,
    STORE_F64, STORE_F32, STORE_F16, STORE_BF16, TOTAL, TOTAL_MAGNITUDE, SORT_OUT,
    ADD, SUBTRACT, MULTIPLY, DIVIDE, ADD_TIMES,
    ADD_NUMBER, MULTIPLY_NUMBER, DIVIDE_NUMBER, MAGNITUDE,
    LARGEST, DRAWN, ELECTED
};

/* `to` is a register or an output; `index` says which input, limits or stream, or how to elect; `reads` and `numbers`
 * are where its registers and constants begin, each in the table of all steps.
 */
typedef struct {
    int32_t code, to, index, count, reads, numbers;
} Step;

/* What SORT_OUT fills: `keys` has room for all that it may see, and one more. */
typedef struct {
    int32_t low, high, *keys;
    int64_t noted, above, nonzero, largest;
} Bracket;

typedef uint16_t __attribute__((may_alias)) Draw; /* a piece of a word */

INLINE float as_float(uint32_t bits) { float value; memcpy(&value, &bits, 4); return value; }
INLINE uint32_t bits_of(float value) { uint32_t bits; memcpy(&bits, &value, 4); return bits; }

INLINE float widen_bf16(uint16_t half) { return as_float((uint32_t)half << 16); }

/* Exact: the exponent is moved by a multiplication, which subnormal numbers survive. */
INLINE float widen_f16(uint16_t half) {
    uint32_t magnitude = (uint32_t)(half & 0x7fff) << 13, sign = (uint32_t)(half & 0x8000) << 16;
    uint32_t special = magnitude >= 0x0f800000 ? 0x70000000 : 0;
    float scaled = as_float(magnitude) * 0x1p112f;
    return as_float((special ? (magnitude | 0x7f800000) : bits_of(scaled)) | sign);
}

INLINE uint16_t narrow_bf16(float value) {
    uint32_t bits = bits_of(value), rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    return (uint16_t)((bits & 0x7fffffff) > 0x7f800000 ? 0x7fc0 : rounded);
}

/* To the nearest, ties to even. What becomes subnormal is rounded by an addition that leaves its bits at the end. */
INLINE uint16_t narrow_f16(float value) {
    uint32_t bits = bits_of(value), sign = (bits >> 16) & 0x8000, magnitude = bits & 0x7fffffff;
    uint32_t normal = (magnitude - 0x38000000 + 0xfff + ((magnitude >> 13) & 1)) >> 13;
    uint32_t subnormal = bits_of(as_float(magnitude) + 0.5f) - 0x3f000000;
    uint32_t result = magnitude < 0x38800000 ? subnormal : normal;
    result = magnitude >= 0x477ff000 ? 0x7c00 : result;
    result = magnitude > 0x7f800000 ? 0x7e00 : result;
    return (uint16_t)(result | sign);
}

#include "philox.h"

/* What is drawn times a number where the draw of an element is below the limit, else times 0 times that number;
 * `first` is the number of the element in its tensor.
 */
INLINE void drawn(double *restrict to, const double *from, const uint64_t *stream, double number, uint64_t first,
                  size_t count) {
    uint64_t words[4 * (CHUNK / 16 + 1 + COUNTERS)], begin = first / 16, end = (first + count + 15) / 16;
    philox(stream, begin + 1, end + 1, words);
    const Draw *draws = (const Draw *)words + (first - 16 * begin);
    const uint32_t limit = (uint32_t)stream[2];
    const double dropped = 0.0 * number;
    for (size_t i = 0; i < count; i++) to[i] = from[i] * (draws[i] < limit ? number : dropped);
}

/* What lies above limits[0]; of what is not above limits[1] only the first limits[2], unless that is negative. */
INLINE void largest(double *to, const double *from, double *limits, size_t count) {
    double limit = limits[0], above = limits[1];
    for (size_t i = 0; i < count; i++) to[i] = from[i] >= -limit && from[i] <= limit ? 0.0 : from[i];
    if (limits[2] < 0) return;
    for (size_t i = 0; i < count; i++)
        if (to[i] != 0 && to[i] >= -above && to[i] <= above) {
            if (limits[2] > 0) limits[2] -= 1;
            else to[i] = 0.0;
        }
}

/* The sum of those parts whose sign wins, divided by their shares if there are any: see `elected` in formula.py. */
INLINE void elected_of(double *restrict to, const double *registers, const int32_t *reads, const double *numbers,
                       int weighs, int divides, size_t parts, size_t width, size_t count) {
    const double *weights = numbers, *shares = numbers + parts, bound = numbers[2 * parts];
    for (size_t at = 0; at < count; at += width) {
        double votes[WIDEST], total[WIDEST], divisor[WIDEST];
        for (size_t i = 0; i < width; i++) votes[i] = -0.0, total[i] = divisor[i] = 0.0;
#pragma GCC unroll 4
        for (size_t part = 0; part < parts; part++) {
            const double *from = registers + (size_t)reads[part] * CHUNK + at, weight = weights[part];
            for (size_t i = 0; i < width; i++) votes[i] += weighs ? from[i] * weight : from[i];
        }
#pragma GCC unroll 4
        for (size_t part = 0; part < parts; part++) {
            const double *from = registers + (size_t)reads[part] * CHUNK + at;
            const double weight = weights[part], share = shares[part];
            for (size_t i = 0; i < width; i++) {
                double voter = weighs ? from[i] * weight : from[i];
                double agrees = ((voter > 0.0) == (votes[i] >= 0.0)) & (voter != 0.0) ? 1.0 : 0.0;
                total[i] += weighs ? voter * agrees : voter * agrees * weight;
                divisor[i] += agrees * share;
            }
        }
        if (divides)
            for (size_t i = 0; i < width; i++) {
                double least = bound > 0.0 ? bound : divisor[i], most = bound > 0.0 ? divisor[i] : bound;
                divisor[i] = divisor[i] < least ? least : divisor[i] > most ? most : divisor[i];
                total[i] /= divisor[i];
            }
        for (size_t i = 0; i < width; i++) to[at + i] = total[i];
    }
}

#define ELECTED_OF(parts, width) \
    if (weighs) elected_of(to, registers, reads, numbers, 1, divides, parts, width, count); \
    else elected_of(to, registers, reads, numbers, 0, divides, parts, width, count); \
    break

/* Where the compiler knows how many parts there are, most of it stays in registers, of twice as many elements. */
INLINE void elected(double *restrict to, const double *registers, const int32_t *reads, const double *numbers,
                    int how, int parts, size_t count) {
    const int weighs = how & 1, divides = how & 2;
    switch (parts) {
    case 2: ELECTED_OF(2, WIDEST);
    case 3: ELECTED_OF(3, WIDEST);
    case 4: ELECTED_OF(4, WIDEST);
    default: ELECTED_OF((size_t)parts, WIDEST / 2);
    }
}

/* Notes the keys of magnitudes, fp32 of which the sign counts for nothing, that lie from `low` to `high`, and counts. */
INLINE void sort_out(Bracket *bracket, const uint32_t *bits, size_t count) {
    const int32_t low = bracket->low, high = bracket->high;
    int32_t above = 0, nonzero = 0, largest = 0, *noted = bracket->keys + bracket->noted;
    for (size_t i = 0; i < count; i++) {
        int32_t key = (int32_t)(bits[i] & 0x7fffffff);
        above += key > high;
        nonzero += key != 0;
        largest = key > largest ? key : largest;
    }
    for (size_t at = 0; at < count; at += GROUP) {
        size_t end = count - at < GROUP ? count : at + GROUP;
        int32_t within = end != at + GROUP;
        if (!within)
            for (size_t i = 0; i < GROUP; i++) {
                int32_t key = (int32_t)(bits[at + i] & 0x7fffffff);
                within |= (key >= low) & (key <= high);
            }
        if (within)
            for (size_t i = at; i < end; i++) {
                int32_t key = (int32_t)(bits[i] & 0x7fffffff);
                *noted = key;
                noted += (key >= low) & (key <= high);
            }
    }
    bracket->above += above;
    bracket->nonzero += nonzero;
    bracket->largest = largest > bracket->largest ? largest : bracket->largest;
    bracket->noted = noted - bracket->keys;
}

#define EACH(expression) for (size_t i = 0; i < count; i++) { expression; } break

/* Writes what a step has made, and notes whether any of it is NaN or infinite. */
#define STORE(type, value, is_unusual) { \
        type *restrict out = (type *)outputs[step->to] + at; \
        uint32_t seen = 0; \
        for (size_t i = 0; i < count; i++) { out[i] = value; seen |= is_unusual; } \
        unusual |= seen; \
        break; \
    }

#if defined(__FLT_EVAL_METHOD__) && __FLT_EVAL_METHOD__ != 0
#error "intermediate results would be rounded twice"
#endif

/* 0 on a machine of the other endianness, whose draws would be others. */
uint32_t fused_source(void) { const uint16_t one = 1; return *(const uint8_t *)&one ? SOURCE : 0; }

size_t fused_register_bytes(void) { return CHUNK * sizeof(double); }

#define LOADED(type, widened) { \
        const type *from = (const type *)inputs[step->index] + at; \
        for (size_t i = 0; i < count; i++) to[i] = widened; \
        break; \
    }

#define ADDED(value) { \
        double *restrict sums = (double *)outputs[step->to] + at % SUMS; \
        for (size_t i = 0; i < count; i++) sums[i] += value; \
        break; \
    }

/* Runs the steps over `elements` of each input and output, and returns whether all that was stored is finite.
 *
 * `places` are the registers that steps read and `constants` their numbers, both with two more at the end; `registers`
 * is room for as many as the steps name; `limits` and `streams` are what LARGEST, which changes them, and DRAWN refer
 * to; `first` is the number of the first element in its tensor.
 */
FOR_EVERY_CPU
int fused_run(const Step *steps, size_t length, const int32_t *places, const double *constants,
              const void *const *inputs, void *const *outputs, double *registers, double *limits,
              const uint64_t *streams, uint64_t first, size_t elements) {
    uint32_t unusual = 0;
    for (size_t at = 0; at < elements; at += CHUNK) {
        size_t count = elements - at < CHUNK ? elements - at : CHUNK;
        for (const Step *step = steps; step < steps + length; step++) {
            const int32_t *reads = places + step->reads;
            const double *left = registers + (size_t)reads[0] * CHUNK, *right = registers + (size_t)reads[1] * CHUNK;
            const double *numbers = constants + step->numbers, number = numbers[0];
            double *restrict to = registers + (size_t)step->to * CHUNK;
            switch (step->code) {
            case LOAD_F64: LOADED(double, from[i])
            case LOAD_F32: LOADED(float, from[i])
            case LOAD_F16: LOADED(uint16_t, widen_f16(from[i]))
            case LOAD_BF16: LOADED(uint16_t, widen_bf16(from[i]))
            case LESS_F64: LOADED(double, from[i] - left[i])
            case LESS_F32: LOADED(float, (double)from[i] - left[i])
            case LESS_F16: LOADED(uint16_t, (double)widen_f16(from[i]) - left[i])
            case LESS_BF16: LOADED(uint16_t, (double)widen_bf16(from[i]) - left[i])
            case STORE_F64: STORE(double, left[i], !(out[i] - out[i] == 0.0))
            case STORE_F32: STORE(float, (float)left[i], !(out[i] - out[i] == 0.0f))
            case STORE_F16: STORE(uint16_t, narrow_f16((float)left[i]), (out[i] & 0x7c00) == 0x7c00)
            case STORE_BF16: STORE(uint16_t, narrow_bf16((float)left[i]), (out[i] & 0x7f80) == 0x7f80)
            case TOTAL: ADDED(left[i])
            case TOTAL_MAGNITUDE: ADDED(__builtin_fabs(left[i]))
            case SORT_OUT: {
                uint32_t bits[CHUNK];
                for (size_t i = 0; i < count; i++) bits[i] = bits_of((float)left[i]);
                sort_out((Bracket *)outputs[step->to], bits, count);
                break;
            }
            case ADD: EACH(to[i] = left[i] + right[i]);
            case SUBTRACT: EACH(to[i] = left[i] - right[i]);
            case MULTIPLY: EACH(to[i] = left[i] * right[i]);
            case DIVIDE: EACH(to[i] = left[i] / right[i]);
            case ADD_TIMES: EACH(to[i] = left[i] + right[i] * number);
            case ADD_NUMBER: EACH(to[i] = left[i] + number);
            case MULTIPLY_NUMBER: EACH(to[i] = left[i] * number);
            case DIVIDE_NUMBER: EACH(to[i] = left[i] / number);
            case MAGNITUDE: EACH(to[i] = __builtin_fabs(left[i]));
            case LARGEST: largest(to, left, limits + step->index, count); break;
            case DRAWN: drawn(to, left, streams + step->index, number, first + at, count); break;
            case ELECTED: elected(to, registers, reads, numbers, step->index, step->count, count); break;
            }
        }
    }
    return !unusual;
}

/* The same as SORT_OUT for what lies in memory as fp32. */
FOR_EVERY_CPU
void fused_sort_out(Bracket *bracket, const uint32_t *bits, size_t count) {
    for (size_t at = 0; at < count; at += CHUNK) sort_out(bracket, bits + at, count - at < CHUNK ? count - at : CHUNK);
}

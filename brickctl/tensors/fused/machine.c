/* Runs a formula over one block: a few thousand elements at a time go through all of its steps while they lie in the
 * cache, so that memory is read once and written once, however long the formula is.
 *
 * Every step is the IEEE operation that its name says, in fp64; no compiler may fuse or reorder them (-ffp-contract=off,
 * no -ffast-math), so that the bits are those of the same steps in any other order of blocks, on any CPU, in NumPy or in
 * torch. `machine.py` writes the programs; SOURCE, the beginning of the sha256 of this file, tells it that the two belong
 * together.
 */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifndef SOURCE
#define SOURCE 0
#endif
#define CHUNK 1024
#define STRIP 65536
#define LANES 16 /* counters at once: as many as fill the registers */
#define INLINE static inline __attribute__((always_inline))

#if defined(__x86_64__) && defined(__GLIBC__) && !defined(ONE_CPU)
#define FOR_EVERY_CPU __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define FOR_EVERY_CPU
#endif

enum {
    LOAD_F64, LOAD_F32, LOAD_F16, LOAD_BF16,
    STORE_F64, STORE_F32, STORE_F16, STORE_BF16,
    ADD, SUBTRACT, MULTIPLY, DIVIDE,
    ADD_NUMBER, MULTIPLY_NUMBER, DIVIDE_NUMBER, AT_LEAST, AT_MOST,
    AGREES, LARGEST, DRAWN, MAGNITUDE, TOTAL
};

typedef struct {
    int32_t code, to, left, right;
    double number;
} Step;

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

/* The upper half of a product of 64 bits by 64, made of products that vector units have. */
INLINE uint64_t upper_half(uint64_t left, uint64_t right) {
    uint64_t low = (left & 0xffffffff) * (right & 0xffffffff), high = (left >> 32) * (right >> 32);
    uint64_t one = (left >> 32) * (right & 0xffffffff), other = (left & 0xffffffff) * (right >> 32);
    uint64_t carried = one + (low >> 32), middle = other + (carried & 0xffffffff);
    return high + (carried >> 32) + (middle >> 32);
}

/* Philox4x64-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011) of LANES counters in a row. */
INLINE void philox(uint64_t counter, uint64_t key, uint64_t other, uint64_t *restrict words) {
    const uint64_t first = 0xD2E7470EE14C6C93u, second = 0xCA5A826395121157u;
    uint64_t a[LANES], b[LANES], c[LANES], d[LANES];
    for (int lane = 0; lane < LANES; lane++) {
        a[lane] = counter + (uint64_t)lane;
        b[lane] = c[lane] = d[lane] = 0;
    }
    for (int round = 0; round < 10; round++) {
        for (int lane = 0; lane < LANES; lane++) {
            uint64_t left = a[lane], right = c[lane];
            a[lane] = upper_half(second, right) ^ b[lane] ^ key;
            c[lane] = upper_half(first, left) ^ d[lane] ^ other;
            b[lane] = second * right;
            d[lane] = first * left;
        }
        key += 0x9E3779B97F4A7C15u;
        other += 0xBB67AE8584CAA73Bu;
    }
    for (int lane = 0; lane < LANES; lane++) {
        words[4 * lane] = a[lane];
        words[4 * lane + 1] = b[lane];
        words[4 * lane + 2] = c[lane];
        words[4 * lane + 3] = d[lane];
    }
}

/* 1 where the draw of an element is below the limit, else 0; `first` is its number in the tensor. */
INLINE void drawn(double *restrict to, const uint64_t *stream, uint64_t first, size_t count) {
    uint64_t words[4 * (CHUNK / 16 + 2 * LANES)];
    uint16_t draws[CHUNK];
    uint64_t begin = first / 16, end = (first + count + 15) / 16;
    uint32_t limit = (uint32_t)stream[2];
    for (uint64_t block = begin; block < end; block += LANES)
        philox(block + 1, stream[0], stream[1], words + 4 * (block - begin));
    memcpy(draws, (const char *)words + 2 * (first - 16 * begin), 2 * count);
    for (size_t i = 0; i < count; i++) to[i] = draws[i] < limit ? 1.0 : 0.0;
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

/* Runs the steps over `elements` of each input and output, and returns whether all that was stored is finite.
 *
 * `registers` is room for as many of them as the steps name; `first` the number of the first element in its tensor;
 * `limits` and `streams` what LARGEST and DRAWN refer to by `right`, the former of which is changed.
 */
FOR_EVERY_CPU
int fused_run(const Step *steps, size_t length, const void *const *inputs, void *const *outputs, double *registers,
              double *limits, const uint64_t *streams, uint64_t first, size_t elements) {
    uint32_t unusual = 0;
    for (size_t at = 0; at < elements; at += CHUNK) {
        size_t count = elements - at < CHUNK ? elements - at : CHUNK;
        for (const Step *step = steps; step < steps + length; step++) {
            double *restrict to = registers + (size_t)step->to * CHUNK;
            const double *left = registers + (size_t)step->left * CHUNK;
            const double *right = registers + (size_t)step->right * CHUNK;
            const double number = step->number;
            switch (step->code) {
            case LOAD_F64: { const double *from = (const double *)inputs[step->left] + at; EACH(to[i] = from[i]); }
            case LOAD_F32: { const float *from = (const float *)inputs[step->left] + at; EACH(to[i] = from[i]); }
            case LOAD_F16: { const uint16_t *from = (const uint16_t *)inputs[step->left] + at; EACH(to[i] = widen_f16(from[i])); }
            case LOAD_BF16: { const uint16_t *from = (const uint16_t *)inputs[step->left] + at; EACH(to[i] = widen_bf16(from[i])); }
            case STORE_F64: STORE(double, left[i], !(out[i] - out[i] == 0.0))
            case STORE_F32: STORE(float, (float)left[i], !(out[i] - out[i] == 0.0f))
            case STORE_F16: STORE(uint16_t, narrow_f16((float)left[i]), (out[i] & 0x7c00) == 0x7c00)
            case STORE_BF16: STORE(uint16_t, narrow_bf16((float)left[i]), (out[i] & 0x7f80) == 0x7f80)
            case ADD: EACH(to[i] = left[i] + right[i]);
            case SUBTRACT: EACH(to[i] = left[i] - right[i]);
            case MULTIPLY: EACH(to[i] = left[i] * right[i]);
            case DIVIDE: EACH(to[i] = left[i] / right[i]);
            case ADD_NUMBER: EACH(to[i] = left[i] + number);
            case MULTIPLY_NUMBER: EACH(to[i] = left[i] * number);
            case DIVIDE_NUMBER: EACH(to[i] = left[i] / number);
            case AT_LEAST: EACH(to[i] = left[i] < number ? number : left[i]);
            case AT_MOST: EACH(to[i] = left[i] > number ? number : left[i]);
            case AGREES: EACH(to[i] = (((left[i] > 0.0) == (right[i] >= 0.0)) & (left[i] != 0.0)) ? 1.0 : 0.0);
            case LARGEST: largest(to, left, limits + step->right, count); break;
            case MAGNITUDE: EACH(to[i] = __builtin_fabs(left[i]));
            case TOTAL: { double *restrict sums = (double *)outputs[step->to] + at % STRIP; EACH(sums[i] += left[i]); }
            case DRAWN: drawn(to, streams + step->right, first + at, count); break;
            }
        }
    }
    return !unusual;
}

/* Looks at the keys of magnitudes: copies those from `low` to `high`, and returns how many that are. Adds to found[0]
 * how many lie above, to found[1] how many are not 0; found[2] is the largest.
 */
FOR_EVERY_CPU
size_t fused_between(const int32_t *restrict keys, size_t count, int32_t low, int32_t high, int32_t *restrict between,
                     int64_t *found) {
    size_t copied = 0;
    for (size_t at = 0; at < count; at += CHUNK) {
        size_t end = count - at < CHUNK ? count : at + CHUNK;
        int32_t above = 0, nonzero = 0, within = 0, largest = 0;
        for (size_t i = at; i < end; i++) {
            above += keys[i] > high;
            nonzero += keys[i] != 0;
            within += (keys[i] >= low) & (keys[i] <= high);
            largest = keys[i] > largest ? keys[i] : largest;
        }
        if (within)
            for (size_t i = at; i < end; i++) {
                between[copied] = keys[i];
                copied += (keys[i] >= low) & (keys[i] <= high);
            }
        found[0] += above;
        found[1] += nonzero;
        if (largest > found[2]) found[2] = largest;
    }
    return copied;
}

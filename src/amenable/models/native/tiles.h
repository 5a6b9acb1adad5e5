// Products of small matrices in registers, for attention within a document, in float32 or bfloat16.
//
// A word is 32 bits of what is summed over: one float32 or two bfloat16 side by side. The left matrix is read a word at
// a time, the right one 32 columns of words at a time: [block of 32 columns][word][32]. Sums are float32.

#pragma once

#include <utility>
#include <vector>

#include "vectors.h"

namespace {

#ifdef __AVX512F__
constexpr int TILE = 12;  // rows of a tile: with two vectors of sums each, 24 of 32 registers
#else
constexpr int TILE = 6;  // a half of its columns at a time: 12 of 16 registers, or 24 of 32 narrow ones
#endif
constexpr int WIDE = 2 * LANES;  // columns of a tile

// Unrolled, so that sums stay in registers.
#define EACH_ROW _Pragma("GCC unroll 12") for (int r = 0; r < TILE; r++)

typedef uint32_t Word __attribute__((may_alias));

inline float widened(float x) { return x; }
inline float widened(uint16_t x) { return from_half(x); }

// The first `left` numbers where fewer than 16 are left, zeros behind them; the same of a store.
template <class T>
inline Vec load(const T* at, int64_t left) {
    if (left >= LANES) return load(at);
    T some[LANES] = {};
    std::memcpy(some, at, left * sizeof(T));
    return load(some);
}

template <class T>
inline void put(T* at, Vec x, int64_t left) {
    if (left >= LANES) return put(at, x);
    T some[LANES];
    put(some, x);
    std::memcpy(at, some, left * sizeof(T));
}

// 64 bytes, or of `left` numbers what these are: a call of memcpy costs more than so few bytes.
template <class T>
inline void copy(T* to, const T* from, int64_t left) {
    constexpr int64_t most = 64 / sizeof(T);
    if (left >= most) {
        *(BitsAt*)to = *(const BitsAt*)from;
    } else {
        std::memcpy(to, from, left * sizeof(T));
    }
}

// x, numbers `at` and following, with -inf for those outside [begin, end)
inline Vec within(Vec x, int64_t at, int64_t begin, int64_t end) {
    if (at >= begin && at + LANES <= end) return x;
    const Ints place = Ints{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15} + (int32_t)at;
    return by_register([=](Reg x, Reg at) {
        return (((RegInts)at >= (int32_t)begin) & ((RegInts)at < (int32_t)end)) ? x : Reg{} - INFINITY;
    }, x, (Vec)place);
}

// e^x to about 1e-7, in half the time of `exponential` where there is AVX-512: a polynomial on [-ln2/2, ln2/2], fitted for the
// smallest largest error with its first two terms exact. NaN stays NaN.
inline Vec to_e(Vec x) {
#ifdef __AVX512F__
    x = (Vec)_mm512_max_ps((__m512)all(-110.0f), (__m512)x);
    const Vec n = (Vec)_mm512_roundscale_ps((__m512)(x * 1.44269504f), 0);
    const Vec r = x - n * 0.693147181f;
    Vec p = r * 8.312430233e-3f + 4.189100116e-2f;
    p = p * r + 1.666711867e-1f;
    p = p * r + 4.999922514e-1f;
    p = p * r + 1.0f;
    return (Vec)_mm512_scalef_ps((__m512)(p * r + 1.0f), (__m512)n);
#else
    return exponential(x);
#endif
}

// The sum by halves, as fast as it can be.
inline float total_of(Vec x) {
    typedef float Eight __attribute__((vector_size(32)));
    typedef float Four __attribute__((vector_size(16)));
    Eight e[2];
    std::memcpy(e, &x, 64);
    const Eight eight = e[0] + e[1];
    Four f[2];
    std::memcpy(f, &eight, 32);
    const Four four = f[0] + f[1];
    return (four[0] + four[2]) + (four[1] + four[3]);
}

// Rows become columns.
#if defined(__AVX512F__) && !defined(__clang__)
template <int S = LANES / 2>
inline void turn_over(Bits (&x)[LANES]) {  // of each four numbers in a square with side 2 s, the outer two change places
    const Bits lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    const Bits upper = (lane & S) ? lane + LANES - S : lane, lower = (lane & S) ? lane + LANES : lane + S;
    for (int i = 0; i < LANES; i++)
        if (!(i & S)) {
            const Bits a = x[i], b = x[i + S];
            x[i] = __builtin_shuffle(a, b, upper), x[i + S] = __builtin_shuffle(a, b, lower);
        }
    if constexpr (S > 1) turn_over<S / 2>(x);
}
#else
inline void turn_over(Bits (&x)[LANES]) {
    Word* at = (Word*)x;
    for (int i = 0; i < LANES; i++)
        for (int j = 0; j < i; j++) std::swap(at[i * LANES + j], at[j * LANES + i]);
}
#endif

inline Vec rounded(Vec x) {  // to bfloat16, nearest even; NaN stays NaN
    return by_register([](Reg x) {
        const RegBits bits = (RegBits)x, up = (bits + 0x7fff + ((bits >> 16) & 1)) & 0xffff0000u;
        return x == x ? (Reg)up : x;
    }, x);
}

struct FloatTile {
    using Act = float;
    static constexpr int UNIT = 1;  // numbers of a word
    static void step(Reg& sum, Word word, RegBits right) { sum += (Reg)(RegBits{} + word) * (Reg)right; }
    // Of two rows of a matrix whose rows are summed over: their words, written and read.
    static void put_rows(Word* at, int64_t stride, Vec a, Vec b) {
        *(BitsAt*)at = (Bits)a, *(BitsAt*)(at + stride) = (Bits)b;
    }
    static Bits joined(const Act* row, int64_t) { return *(const BitsAt*)row; }
};

struct HalfTile {
    using Act = uint16_t;
    static constexpr int UNIT = 2;
    static void step(Reg& sum, Word word, RegBits right) {
        const RegBits left = RegBits{} + word;
#ifdef __AVX512BF16__
        sum = (Reg)_mm512_dpbf16_ps((__m512)sum, (__m512bh)left, (__m512bh)right);
#else
        sum += (Reg)(left << 16) * (Reg)(right << 16);
        sum += (Reg)(left & 0xffff0000u) * (Reg)(right & 0xffff0000u);
#endif
    }
    static void put_rows(Word* at, int64_t, Vec a, Vec b) {
        *(BitsAt*)at = (Bits)rounded(a) >> 16 | (Bits)rounded(b);
    }
    static Bits joined(const Act* row, int64_t stride) {
        return (Bits)load(row) >> 16 | (Bits)load(row + stride);
    }
};

// Work on `total` things, one at a time, by whichever thread is free.
template <class Work>
void each(int64_t total, int64_t threads, const Work& work) {
#ifdef _OPENMP
    if (threads > 1) {
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
        for (int64_t i = 0; i < total; i++) work(i);
        return;
    }
#endif
    for (int64_t i = 0; i < total; i++) work(i);
}

// TILE x 32 sums of left @ right. stride: words from one row of `left` to the next; step: to the next word of a row.
template <class T>
inline void multiply(const Word* left, int64_t stride, int64_t step, int64_t words, const Word* right,
                     Vec (&sums)[TILE][2]) {
    constexpr int REGS = (REGISTER == LANES ? WIDE : LANES) / REGISTER;  // of a row that are summed at once
#define EACH_REG _Pragma("GCC unroll 4") for (int i = 0; i < REGS; i++)
    for (int from = 0; from < WIDE; from += REGS * REGISTER) {
        Reg s[TILE][REGS];
        EACH_ROW EACH_REG std::memcpy(&s[r][i], (float*)&sums[r] + from + i * REGISTER, sizeof(Reg));
        const Word *l = left, *at = right + from;
        for (int64_t k = 0; k < words; k++, l += step, at += WIDE) {
            RegBits b[REGS];
            EACH_REG b[i] = *(const RegBitsAt*)(at + i * REGISTER);
            EACH_ROW EACH_REG T::step(s[r][i], l[r * stride], b[i]);
        }
        EACH_ROW EACH_REG std::memcpy((float*)&sums[r] + from + i * REGISTER, &s[r][i], sizeof(Reg));
    }
#undef EACH_REG
}

}  // namespace

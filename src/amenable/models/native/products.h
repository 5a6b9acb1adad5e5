// Products of a few rows with a matrix.
//
// Matrices are stored in blocks of 32 outputs, [block][input][32], so that a tile of up to ROWS tokens by 32 outputs
// stays in registers while the weights stream by once. The three ways to store a weight:
//   Float   float32
//   Half    bfloat16, two inputs side by side; activations are rounded to bfloat16 at each product, sums are float32
//   Byte    int8 with one scale per output; activations stay float32

#pragma once

#include "vectors.h"

namespace {

constexpr int BLOCK = 32;

// Sums of a tile of up to ROWS tokens take up to 24 of 32 registers, or 12 of 16: of many tokens for half a block at a time.
#ifdef __AVX512F__
constexpr int ROWS = 12, FULL = 12;
#else
constexpr int ROWS = 6, FULL = 3;  // FULL: tokens up to which a whole block is summed at once
#endif
constexpr int64_t SLAB = 4 * 12;  // tokens per unit of work: their inputs stay in the second-level cache

template <int R>
constexpr int REGS = (R <= FULL ? BLOCK : BLOCK / 2) / REGISTER;  // of a row of R
template <int R>
using Sums = Reg[R][REGS<R>];

#define EACH_REGISTER _Pragma("GCC unroll 8") for (int i = 0; i < REGS<R>; i++)
#define EACH_OF_ROWS _Pragma("GCC unroll 12") for (int r = 0; r < R; r++)

inline Reg weights(const float* at) { return *(const RegAt*)at; }
inline Reg weights(const int8_t* at) {
#if defined(__AVX512F__)
    return load(at);
#elif defined(__AVX2__)
    return (Reg)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i*)at)));
#else
    Reg out;
    for (int i = 0; i < REGISTER; i++) out[i] = at[i];
    return out;
#endif
}

template <class W>
struct Plain {
    using In = float;
    using Weight = W;
    using Kept = float;
    static constexpr int64_t UNIT = 1;  // inputs that lie side by side
    template <int R>
    static void tile(const In* x, int64_t stride, int64_t inner, const Weight* w, Sums<R>& s) {
        for (int64_t k = 0; k < inner; k++, w += BLOCK) {
            Reg a[REGS<R>];
            EACH_REGISTER a[i] = weights(w + i * REGISTER);
            EACH_OF_ROWS {
                const Reg v = x[r * stride + k] - Reg{};
                EACH_REGISTER s[r][i] += v * a[i];
            }
        }
    }
};

using Float = Plain<float>;
using Byte = Plain<int8_t>;

struct Half {
    using In = uint16_t;
    using Weight = uint16_t;
    using Kept = uint16_t;
    static constexpr int64_t UNIT = 2;
    template <int R>
    static void tile(const In* x, int64_t stride, int64_t inner, const Weight* w, Sums<R>& s) {
        for (int64_t k = 0; k < inner; k += 2, w += 2 * BLOCK) {
            RegBits a[REGS<R>];
            EACH_REGISTER a[i] = *(const RegBitsAt*)(w + 2 * i * REGISTER);
            EACH_OF_ROWS {
                uint32_t pair;
                std::memcpy(&pair, x + r * stride + k, 4);
                const RegBits v = RegBits{} + pair;
#ifdef __AVX512BF16__
                EACH_REGISTER s[r][i] = (Reg)_mm512_dpbf16_ps((__m512)s[r][i], (__m512bh)v, (__m512bh)a[i]);
#else
                EACH_REGISTER {
                    s[r][i] += (Reg)(v << 16) * (Reg)(a[i] << 16);
                    s[r][i] += (Reg)(v & 0xffff0000u) * (Reg)(a[i] & 0xffff0000u);
                }
#endif
            }
        }
    }
};

// a (R x 32) tile of x @ w, written to out
template <class T, int R>
void tile_to(const typename T::In* x, int64_t stride, int64_t inner, const typename T::Weight* w, float* out) {
    for (int at = 0; at < BLOCK; at += REGS<R> * REGISTER) {
        Sums<R> s = {};
        T::template tile<R>(x, stride, inner, w + at * T::UNIT, s);
        EACH_OF_ROWS EACH_REGISTER std::memcpy(out + r * BLOCK + at + i * REGISTER, &s[r][i], sizeof(Reg));
    }
}

template <class T, int R = ROWS>
void tiles(int64_t rows, const typename T::In* x, int64_t stride, int64_t inner, const typename T::Weight* w,
           float* out) {
    if (rows == R) return tile_to<T, R>(x, stride, inner, w, out);
    if constexpr (R > 1) tiles<T, R - 1>(rows, x, stride, inner, w, out);
}

struct Linear {
    const void* weight;
    const float* scale;  // per output, or null
    const float* bias;   // per output, or null
    int64_t blocks, inner;
};

struct Share {  // what one thread does of `total` things
    int64_t begin, end;
    Share(int64_t total, int64_t thread, int64_t threads)
        : begin(total * thread / threads), end(total * (thread + 1) / threads) {}
};

void wait() {
#ifdef _OPENMP
#pragma omp barrier
#endif
}

enum After { STORE, ADD, GATE, ACT };

// out = x @ weight (+ bias), then: STORE it, ADD it to what is there, or hand activations on as inputs of a product
template <class T>
void linear(const Linear& l, const typename T::In* x, int64_t stride, int64_t rows, After after, int64_t activation,
            void* out, int64_t out_stride, int64_t thread, int64_t threads) {
    using In = typename T::In;
    alignas(64) float got[ROWS * BLOCK];
    const int64_t slabs = (rows + SLAB - 1) / SLAB;
    const Share mine(l.blocks * slabs, thread, threads);
    for (int64_t item = mine.begin; item < mine.end; item++) {
        const int64_t block = item / slabs, first = item % slabs * SLAB, last = std::min(first + SLAB, rows);
        const auto* w = (const typename T::Weight*)l.weight + block * l.inner * BLOCK;
        const int64_t count = (last - first + ROWS - 1) / ROWS;
        for (int64_t part = 0; part < count; part++) {
            const Share these(last - first, part, count);
            const int64_t row0 = first + these.begin, n = these.end - these.begin;
            tiles<T>(n, x + row0 * stride, stride, l.inner, w, got);
            for (int64_t r = 0; r < n; r++) {
                Vec a = load(got + r * BLOCK), b = load(got + r * BLOCK + LANES);
                if (l.scale) a *= load(l.scale + block * BLOCK), b *= load(l.scale + block * BLOCK + LANES);
                if (l.bias) a += load(l.bias + block * BLOCK), b += load(l.bias + block * BLOCK + LANES);
                const int64_t at = (row0 + r) * out_stride;
                float* to = (float*)out + at + block * BLOCK;
                if (after == STORE) store(to, a), store(to + LANES, b);
                if (after == ADD) store(to, load(to) + a), store(to + LANES, load(to + LANES) + b);
                if (after == GATE) put((In*)out + at + block * LANES, activate(a, activation) * b);
                if (after == ACT) {
                    put((In*)out + at + block * BLOCK, activate(a, activation));
                    put((In*)out + at + block * BLOCK + LANES, activate(b, activation));
                }
            }
        }
    }
}

}  // namespace

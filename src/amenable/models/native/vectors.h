// Sixteen numbers at a time: loads that widen, stores that round, sums, e^x and the activations.
//
// Plain vector extensions of GCC and Clang; intrinsics where the processor rounds to bfloat16 itself and where a compiler
// widens short numbers one by one.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#ifdef __AVX2__
#include <immintrin.h>
#endif

namespace {

constexpr int LANES = 16;

// What one register of the processor holds, for sums that must stay in registers: of a Vec of sixteen that takes several,
// compilers keep a loop's sums in memory.
#if defined(__AVX512F__)
constexpr int REGISTER = 16;
#elif defined(__AVX__)
constexpr int REGISTER = 8;
#else
constexpr int REGISTER = 4;
#endif

inline int64_t blocks(int64_t x, int64_t unit) { return (x + unit - 1) / unit; }
inline int64_t up_to(int64_t x, int64_t unit) { return blocks(x, unit) * unit; }

typedef float Vec __attribute__((vector_size(64)));
typedef int32_t Ints __attribute__((vector_size(64)));
typedef uint32_t Bits __attribute__((vector_size(64)));
typedef float VecAt __attribute__((vector_size(64), aligned(4), may_alias));
typedef uint32_t BitsAt __attribute__((vector_size(64), aligned(2), may_alias));

typedef float Reg __attribute__((vector_size(4 * REGISTER)));
typedef int32_t RegInts __attribute__((vector_size(4 * REGISTER)));
typedef uint32_t RegBits __attribute__((vector_size(4 * REGISTER)));
typedef float RegAt __attribute__((vector_size(4 * REGISTER), aligned(4), may_alias));
typedef uint32_t RegBitsAt __attribute__((vector_size(4 * REGISTER), aligned(2), may_alias));

inline Vec load(const float* at) { return *(const VecAt*)at; }
#ifdef __AVX512F__
inline Vec load(const uint16_t* at) {
    return (Vec)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)at)), 16);
}
inline Vec load(const int8_t* at) {
    return (Vec)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i*)at)));
}
#else
inline Vec load(const uint16_t* at) {
    Bits out;
    for (int i = 0; i < LANES; i++) out[i] = (uint32_t)at[i] << 16;
    return (Vec)out;
}
inline Vec load(const int8_t* at) {
    Vec out;
    for (int i = 0; i < LANES; i++) out[i] = at[i];
    return out;
}
#endif
inline void store(float* at, Vec x) { *(VecAt*)at = x; }
inline Vec all(float x) { return x - Vec{}; }

inline Reg part(const Vec& x, int i) {
    Reg out;
    std::memcpy(&out, (const char*)&x + i * sizeof(Reg), sizeof(Reg));
    return out;
}

// work on each register of what x are. Whatever chooses between numbers goes this way: over several registers GCC compares
// and chooses one number at a time.
template <class Work, class... X>
inline Vec by_register(const Work& work, const X&... x) {
    Vec out;
    for (int i = 0; i < LANES / REGISTER; i++) {
        const Reg got = work(part(x, i)...);
        std::memcpy((char*)&out + i * sizeof(Reg), &got, sizeof(Reg));
    }
    return out;
}

// x > y ? x : y; y where x is NaN
inline Vec larger(const Vec& x, const Vec& y) {
    return by_register([](Reg x, Reg y) { return x > y ? x : y; }, x, y);
}

inline float sum(Vec x) {
    float out = 0;
    for (int i = 0; i < LANES; i++) out += x[i];
    return out;
}

inline float largest(Vec x) {
    float out = x[0];
    for (int i = 1; i < LANES; i++) out = std::max(out, x[i]);
    return out;
}

inline uint16_t to_half(float x) {  // round to nearest even; NaN stays NaN
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    if ((bits & 0x7fffffff) > 0x7f800000) return 0x7fc0;
    return (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

inline float from_half(uint16_t x) {
    uint32_t bits = (uint32_t)x << 16;
    float out;
    std::memcpy(&out, &bits, 4);
    return out;
}

inline void put(float* at, Vec x) { store(at, x); }
inline void put(uint16_t* at, Vec x) {
#ifdef __AVX512BF16__
    _mm256_storeu_si256((__m256i*)at, (__m256i)_mm512_cvtneps_pbh((__m512)x));
#else
    for (int i = 0; i < LANES; i++) at[i] = to_half(x[i]);
#endif
}
inline void put(float* at, float x) { *at = x; }
inline void put(uint16_t* at, float x) { *at = to_half(x); }

// e^x to about 1e-7: 2^n times a polynomial on [-ln2/2, ln2/2] (Cephes, Moshier 1992)
inline Reg power_of_e(Reg x) {
    const Reg zero{}, highest = zero + 88.0f, lowest = zero - 87.0f;
    x = x > highest ? highest : x;
    Reg small = x < lowest ? lowest : x;
    Reg n = small * 1.44269504f + 12582912.0f;  // the addition rounds to an integer
    n -= 12582912.0f;
    Reg r = small - n * 0.693359375f + n * 2.12194440e-4f;
    Reg p = zero + 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    RegInts power = (__builtin_convertvector(n, RegInts) + 127) << 23;
    Reg out = p * (Reg)power;
    return x < lowest ? zero : (x == x ? out : x);
}
inline Vec exponential(const Vec& x) { return by_register(power_of_e, x); }

enum Activation { SILU, GELU, GELU_TANH, RELU };

inline Vec activate(Vec x, int64_t kind) {
    if (kind == SILU) return x / (1.0f + exponential(-x));
    if (kind == GELU_TANH) return x / (1.0f + exponential(-1.5957691216f * (x + 0.044715f * x * x * x)));
    if (kind == RELU) return larger(x, Vec{});
    Vec out;
    for (int i = 0; i < LANES; i++) out[i] = 0.5f * x[i] * (1.0f + std::erf(x[i] * 0.70710678f));
    return out;
}

}  // namespace

// What lies between the matrix products of a training step: norms with the residual sum, the gated activation, attention
// within documents, the softmax of the vocabulary head; each forward and backward in as few passes as memory allows.
//
// Activations are float32 or bfloat16 (half), whatever is summed is float32. No result depends on the number of threads:
// rows and documents are worked on one by one, and what is summed over rows is summed by blocks of a fixed size.

#include "attention.h"

namespace {

constexpr int64_t ROWS_SUMMED = 64;  // rows whose gradients of a norm's weight are summed first
constexpr int64_t PIECE = 4096;      // entries of an elementwise pass that one thread takes at a time

struct Norm {  // H hidden; rows of x, sum, out and their gradients are H long
    int64_t rows, hidden, half;  // half: branch, out and their gradients are bfloat16
    double eps;
    const float *x, *weight;
    const void* branch;  // or null
    float *sum, *inverse;
    void* out;
    const float* d_sum;  // or null
    const void* d_out;
    float *d_x, *d_weight, *d_weights;  // d_weights: room for one row of each block
    void* d_branch;                     // or null
    int64_t threads;
};

// sum = x + branch; out = sum / sqrt(mean(sum²) + eps) * weight
template <class Act>
void norm_row(const Norm& n, int64_t row) {
    const int64_t h = n.hidden, at = row * h;
    const float* x = n.x + at;
    Vec squares{};
    for (int64_t i = 0; i < h; i += LANES) {
        Vec s = load(x + i, h - i);
        if (n.branch) {
            s += load((const Act*)n.branch + at + i, h - i);
            put(n.sum + at + i, s, h - i);
        }
        squares += s * s;
    }
    const float inverse = n.inverse[row] = 1.0f / std::sqrt(total_of(squares) / h + (float)n.eps);
    const float* from = n.branch ? n.sum + at : x;
    for (int64_t i = 0; i < h; i += LANES)
        put((Act*)n.out + at + i, load(from + i, h - i) * inverse * load(n.weight + i, h - i), h - i);
}

// With r = 1/rms and u = d_out * weight: d_x = d_sum + r u - r³ x mean(u x); d_weight = Σ d_out r x.
template <class Act>
void norm_back_row(const Norm& n, int64_t row, float* d_weight) {
    const int64_t h = n.hidden, at = row * h;
    const float *x = n.x + at, r = n.inverse[row];
    const Act* d_out = (const Act*)n.d_out + at;
    Vec dot{};
    for (int64_t i = 0; i < h; i += LANES) {
        const Vec product = load(d_out + i, h - i) * load(x + i, h - i);
        put(d_weight + i, load(d_weight + i, h - i) + product * r, h - i);
        dot += product * load(n.weight + i, h - i);
    }
    const float pull = r * r * r * total_of(dot) / h;
    for (int64_t i = 0; i < h; i += LANES) {
        Vec d = load(d_out + i, h - i) * load(n.weight + i, h - i) * r - load(x + i, h - i) * pull;
        if (n.d_sum) d += load(n.d_sum + at + i, h - i);
        put(n.d_x + at + i, d, h - i);
        if (n.d_branch) put((Act*)n.d_branch + at + i, d, h - i);
    }
}

template <class Act>
void norm(const Norm& n) {
    each(blocks(n.rows, ROWS_SUMMED), n.threads, [&](int64_t block) {
        const int64_t end = std::min(n.rows, (block + 1) * ROWS_SUMMED);
        for (int64_t row = block * ROWS_SUMMED; row < end; row++) norm_row<Act>(n, row);
    });
}

template <class Act>
void norm_back(const Norm& n) {
    const int64_t count = blocks(n.rows, ROWS_SUMMED);
    each(count, n.threads, [&](int64_t block) {
        const int64_t end = std::min(n.rows, (block + 1) * ROWS_SUMMED);
        float* d_weight = n.d_weights + block * n.hidden;
        std::fill_n(d_weight, n.hidden, 0.0f);
        for (int64_t row = block * ROWS_SUMMED; row < end; row++) norm_back_row<Act>(n, row, d_weight);
    });
    std::fill_n(n.d_weight, n.hidden, 0.0f);
    for (int64_t block = 0; block < count; block++)
        for (int64_t i = 0; i < n.hidden; i++) n.d_weight[i] += n.d_weights[block * n.hidden + i];
}

inline Vec sigmoid(Vec x) { return 1.0f / (1.0f + to_e(-x)); }

template <class Act, class Each>
void elementwise(int64_t count, int64_t threads, const Each& work) {
    each(blocks(count, PIECE), threads, [&](int64_t piece) {
        const int64_t end = std::min(count, (piece + 1) * PIECE);
        for (int64_t i = piece * PIECE; i < end; i += LANES) work(i, end - i);
    });
}

template <class Act>
void gate(int64_t count, const Act* gate, const Act* up, Act* out, int64_t threads) {
    elementwise<Act>(count, threads, [&](int64_t i, int64_t left) {
        const Vec g = load(gate + i, left);
        put(out + i, g * sigmoid(g) * load(up + i, left), left);
    });
}

// d silu(g)/dg = σ (1 + g (1 - σ))
template <class Act>
void gate_back(int64_t count, const Act* gate, const Act* up, const Act* d_out, Act* d_gate, Act* d_up,
               int64_t threads) {
    elementwise<Act>(count, threads, [&](int64_t i, int64_t left) {
        const Vec g = load(gate + i, left), d = load(d_out + i, left), s = sigmoid(g);
        put(d_gate + i, d * load(up + i, left) * s * (1.0f + g * (1.0f - s)), left);
        put(d_up + i, d * g * s, left);
    });
}

struct Head {
    int64_t rows, vocabulary, half;
    const void* logits;  // (rows, vocabulary); float32 or bfloat16
    const float* bias;   // or null
    const int64_t* targets;
    double inverse_temperature;
    float *logprobs, *normalisers;
    float* entropies;  // or null
    void* kept;        // or null: p - 1[target], which may overwrite the logits
    int64_t threads;
};

template <class Act>
void head_row(const Head& a, int64_t row, float* e) {  // e: room for a row
    const int64_t size = a.vocabulary;
    const Act* logits = (const Act*)a.logits + row * size;
    const float scale = (float)a.inverse_temperature;
    auto scaled = [&](int64_t i) {
        const Vec x = load(logits + i, size - i);
        return (a.bias ? x + load(a.bias + i, size - i) : x) * scale;
    };
    Vec most = all(-INFINITY);
    for (int64_t i = 0; i < size; i += LANES) {
        const Vec x = within(scaled(i), i, 0, size);
        most = larger(most, x);  // NaN goes through
    }
    const float top = largest(most);
    const int64_t target = a.targets[row];
    const float own = (widened(logits[target]) + (a.bias ? a.bias[target] : 0.0f)) * scale;
    Vec total{}, weighted{};
    for (int64_t i = 0; i < size; i += LANES) {
        const Vec power = within(scaled(i), i, 0, size) - top, x = to_e(power);
        store(e + i, x);
        total += x;
        if (a.entropies) weighted += by_register([](Reg x, Reg y) { return x > 0.0f ? x * y : Reg{}; }, x, power);
    }
    const float mass = total_of(total), log_mass = std::log(mass);
    a.logprobs[row] = own - top - log_mass;
    a.normalisers[row] = top + log_mass;
    if (a.entropies) a.entropies[row] = log_mass - total_of(weighted) / mass;
    if (!a.kept) return;
    Act* kept = (Act*)a.kept + row * size;
    e[target] -= mass;
    for (int64_t i = 0; i < size; i += LANES) put(kept + i, load(e + i) * (1.0f / mass), size - i);
}

template <class Act>
void head(const Head& a) {
    each(blocks(a.rows, 8), a.threads, [&](int64_t block) {
        static thread_local std::vector<float> room;
        room.resize(up_to(a.vocabulary, LANES));
        for (int64_t row = block * 8; row < std::min(a.rows, (block + 1) * 8); row++)
            head_row<Act>(a, row, room.data());
    });
}

}  // namespace

extern "C" {

void amenable_norm(const Norm* n) { n->half ? norm<uint16_t>(*n) : norm<float>(*n); }

void amenable_norm_back(const Norm* n) { n->half ? norm_back<uint16_t>(*n) : norm_back<float>(*n); }

void amenable_gate(int64_t half, int64_t count, const void* g, const void* up, void* out, int64_t threads) {
    if (half) gate(count, (const uint16_t*)g, (const uint16_t*)up, (uint16_t*)out, threads);
    if (!half) gate(count, (const float*)g, (const float*)up, (float*)out, threads);
}

void amenable_gate_back(int64_t half, int64_t count, const void* g, const void* up, const void* d_out, void* d_gate,
                        void* d_up, int64_t threads) {
    if (half)
        gate_back(count, (const uint16_t*)g, (const uint16_t*)up, (const uint16_t*)d_out, (uint16_t*)d_gate,
                  (uint16_t*)d_up, threads);
    if (!half)
        gate_back(count, (const float*)g, (const float*)up, (const float*)d_out, (float*)d_gate, (float*)d_up, threads);
}

int64_t amenable_head(const Head* a) {  // 0 if a target is none of the vocabulary's
    for (int64_t row = 0; row < a->rows; row++)
        if (a->targets[row] < 0 || a->targets[row] >= a->vocabulary) return 0;
    a->half ? head<uint16_t>(*a) : head<float>(*a);
    return 1;
}

void amenable_attend(const Attention* a) {
    each_head(*a, [&](int64_t document, int64_t head) {
        a->half ? attend_head<HalfTile>(*a, document, head) : attend_head<FloatTile>(*a, document, head);
    });
}

void amenable_attend_back(const Attention* a) {
    each_head(*a, [&](int64_t document, int64_t head) {
        a->half ? attend_head_back<HalfTile>(*a, document, head) : attend_head_back<FloatTile>(*a, document, head);
    });
}
}

/* One token per row from logits: see `rollout/sampler.py` for what is drawn. */
#include "vectors.h"

enum { STRETCH = 256 }; /* logits whose sum is kept, so that the search reads few numbers */

/* Sums of e = exp(x) with x = (z - top) / temperature: of e x, e^2 and e^2 x. */
struct sums {
    double ex, ee, eex;
};

/* e over z, which is overwritten; returns the sum of e and adds the others. */
static double weigh(float *z, int64_t n, float top, float slope, struct sums *more) {
    f16 sum = {0}, ex = {0}, ee = {0}, eex = {0};
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) {
        f16 x = (*(f16 *)(z + i) - top) * slope, e = exp16(x);
        u16x32 none = (u16x32)(e == 0.0f); /* 0 log 0 = 0, also where the logit is -inf */
        *(f16 *)(z + i) = e;
        f16 part = (f16)((u16x32)(e * x) & ~none);
        sum += e, ex += part, ee += e * e, eex += e * part;
    }
    double total = sum16(sum);
    more->ex += sum16(ex), more->ee += sum16(ee), more->eex += sum16(eex);
    for (; i < n; i++) {
        float x = (z[i] - top) * slope, e = fast_exp(x);
        z[i] = e;
        float part = e == 0.0f ? 0.0f : e * x;
        total += e, more->ex += part, more->ee += e * e, more->eex += e * part;
    }
    return total;
}

/* What is drawn, [time, responses], and who has finished when. */
struct drawing {
    int64_t responses, vocabulary, ends;
    const int64_t *end; /* the ids that end a response */
    const double *u;    /* [time, responses] in [0, 1): chooses by the inverse of the cumulative distribution */
    int64_t *ids;
    float *logprob, *entropy, *s2, *s2l;
    uint8_t *finished;
    int64_t *length;
    double *sums; /* room for one row's stretches of each thread */
};

static int64_t choose(const double *sum, const float *z, int64_t vocabulary, double target) {
    int64_t stretches = (vocabulary + STRETCH - 1) / STRETCH, s = 0;
    double before = 0;
    while (s + 1 < stretches && before + sum[s] <= target) before += sum[s++];
    int64_t end = (s + 1) * STRETCH < vocabulary ? (s + 1) * STRETCH : vocabulary, last = s * STRETCH;
    for (int64_t i = s * STRETCH; i < end; i++) {
        if (z[i] > 0.0f) last = i;
        before += z[i];
        if (before > target) break;
    }
    return last;
}

static int ends_with(const struct drawing *d, int64_t id) {
    for (int64_t i = 0; i < d->ends; i++)
        if (d->end[i] == id) return 1;
    return 0;
}

/* Row r of the logits, which become exponentials, belongs to response row[r]. Returns how many responses ended. */
int64_t draw(const struct drawing *d, float *logits, const int64_t *row, int64_t rows, int64_t t, float temperature,
             int64_t *chosen) {
    int64_t vocabulary = d->vocabulary, stretches = (vocabulary + STRETCH - 1) / STRETCH, ended = 0;
#pragma omp parallel for schedule(static) reduction(+ : ended) if (rows * vocabulary > 65536)
    for (int64_t r = 0; r < rows; r++) {
        int64_t response = row[r], place = t * d->responses + response;
        float *z = logits + r * vocabulary, top = z[0];
#ifdef _OPENMP
        double *sum = d->sums + omp_get_thread_num() * stretches;
#else
        double *sum = d->sums;
#endif
#pragma omp simd reduction(max : top)
        for (int64_t i = 0; i < vocabulary; i++) top = z[i] > top ? z[i] : top;
        double total = 0;
        struct sums more = {0};
        for (int64_t s = 0; s < stretches; s++) {
            int64_t n = vocabulary - s * STRETCH < STRETCH ? vocabulary - s * STRETCH : STRETCH;
            total += sum[s] = weigh(z + s * STRETCH, n, top, 1.0f / temperature, &more);
        }
        int64_t id = choose(sum, z, vocabulary, d->u[place] * total);
        chosen[r] = d->ids[place] = id;
        double log_total = log(total), square = total * total;
        d->logprob[place] = (float)(log(z[id]) - log_total);
        d->entropy[place] = (float)(log_total - more.ex / total);
        d->s2[place] = (float)(more.ee / square);
        d->s2l[place] = (float)((more.eex - log_total * more.ee) / square);
        if (ends_with(d, id) && !d->finished[response]) {
            d->finished[response] = 1;
            d->length[response] = t + 1;
            ended++;
        }
    }
    return ended;
}

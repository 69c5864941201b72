#include "bench/quantities.hpp"

#include "kernels/core/fixed_point.hpp"

namespace asymptop {

std::vector<Quantity<MeasuredCase>> bench_quantities(MeasuredCase const& measured) {
  using C = MeasuredCase const&;
  auto const number = [](char const* name, auto get, Stored stored = Stored::everywhere, Absent absent = Absent::as_is) {
    return Quantity<MeasuredCase>{name, [get](C c) { return h5::AnyAttribute(double{get(c)}); }, stored, absent};
  };
  auto const integer = [](char const* name, auto get, Stored stored = Stored::everywhere, Absent absent = Absent::as_is) {
    return Quantity<MeasuredCase>{name, [get](C c) { return h5::AnyAttribute(std::int64_t{get(c)}); }, stored, absent};
  };
  auto const text = [](char const* name, auto get, Stored stored = Stored::everywhere, Absent absent = Absent::as_is) {
    return Quantity<MeasuredCase>{name, [get](C c) { return h5::AnyAttribute(std::string(get(c))); }, stored, absent};
  };
  constexpr auto file = Stored::in_file, everywhere = Stored::everywhere;
  constexpr auto null = Absent::null_in_records;
  bool const scales = measured.scaling != Scaling::none;
  auto const in_file = scales ? Stored::everywhere : Stored::in_records;
  std::vector<Quantity<MeasuredCase>> all{
      text(
          "id", [](C c) { return c.item.id; }, file),
      text("kernel", [](C c) { return name_of(c.item.kernel); }),
      integer("n", [](C c) { return c.item.n; }),
      integer("d", [](C c) { return c.item.d; }),
      integer("m", [](C c) { return c.item.m; }),
      integer(
          "k", [](C c) { return c.item.k; }, everywhere, null),
      integer(
          "k_clipped", [](C c) { return c.item.k_clipped ? 1 : 0; }, file),
      integer("ranks", [](C c) { return c.item.ranks; }),
      integer("threads", [](C c) { return c.threads; }),
      text("keys", [](C c) { return c.item.resident ? "resident" : "streamed"; }),
      text("path", [](C c) { return c.item.path; }),
      number("median_seconds", [](C c) { return c.result.statistics().median; }),
      number("iqr_seconds", [](C c) { return c.result.statistics().iqr; }),
      number(
          "gflop", [](C c) { return c.item.flops() / 1e9; }, file),
      number("gflops", [](C c) { return c.gflops(); }),
      number(
          "sgemm_gflops", [](C c) { return c.sgemm.best; }, everywhere, null),
      number("share_of_sgemm", [](C c) { return c.share_of_sgemm(); }),
      number(
          "peak_bytes", [](C c) { return c.result.peak_bytes; }, file),
      integer(
          "peak_bytes", [](C c) { return to_integer(c.result.peak_bytes); }, Stored::in_records),
      text("verdict", [](C c) { return c.result.verdict(); }),
      text("verdict_reason", [](C c) { return c.result.reason(); }),
      text(
          "k_law", [](C c) { return c.item.k_law; }, everywhere, null),
      text("sgemm_kernel", [](C c) { return c.sgemm.best_kernel; }),
      number(
          "sgemm_default_gflops", [](C c) { return c.sgemm.standard; }, everywhere, null),
      text("sgemm_default_kernel", [](C c) { return c.sgemm.standard_kernel; }),
      number("fma_gflops", [](C c) { return c.fma_gflops; }),
      number("gigabytes_per_second", [](C c) { return c.gigabytes_per_second(); }),
      number("read_bandwidth", [](C c) { return c.read_bandwidth; }),
      number(
          "share_of_bandwidth", [](C c) { return c.share_of_bandwidth(); }, Stored::in_records),
      text(
          "merge", [](C c) { return c.item.selects_over_ranks() ? name_of(c.item.merge) : ""; }, everywhere, null),
      number("merge_seconds", [](C c) { return c.result.merge.seconds; }),
      number("combine_seconds", [](C c) { return c.item.kernel == BenchKernel::merge ? c.result.merge.combine_seconds : NAN; }),
      number("merge_exposed_seconds", [](C c) { return c.result.merge.exposed_seconds; }),
      integer("merge_bytes", [](C c) { return c.result.merge.bytes; }),
      integer("merge_bytes_per_rank", [](C c) { return c.result.merge.bytes_per_rank; }),
      integer("merge_messages", [](C c) { return c.result.merge.messages; }),
      integer("merge_rounds", [](C c) { return c.result.merge.rounds; }),
      number(
          "peak_bytes_per_rank", [](C c) { return c.result.peak_bytes_per_rank; }, file),
      integer(
          "peak_bytes_per_rank", [](C c) { return to_integer(c.result.peak_bytes_per_rank); }, Stored::in_records),
      number("nanoseconds_per_normal", [](C c) { return c.nanoseconds_per_normal(); }),
      number("load_imbalance", [](C c) { return c.load_imbalance(); }),
      number("write_seconds", [](C c) { return c.write_seconds; }),
      text("scaling", [](C c) { return name_of(c.scaling); }),
      text(
          "scaling_id", [](C c) { return c.scaling_id; }, in_file, null),
      number(
          "speed_up", [](C c) { return c.speed_up(); }, in_file),
      number(
          "efficiency", [](C c) { return c.efficiency(); }, in_file),
      number(
          "efficiency_iqr", [](C c) { return c.efficiency_iqr(); }, in_file)};
  if (measured.item.device_bytes > 0.0) {
    all.insert(all.end(), {integer("device_peak_bytes", [](C c) { return to_integer(c.result.device_peak_bytes); }),
                           integer("device_planned_bytes", [](C c) { return to_integer(c.item.device_bytes); }),
                           number("cublas_fp32_gflops", [](C c) { return c.gpu.fp32_gflops; }),
                           number("cublas_tf32_gflops", [](C c) { return c.gpu.tf32_gflops; }),
                           number("cublas_bf16_gflops", [](C c) { return c.gpu.bf16_gflops; }),
                           number("device_copy_bandwidth", [](C c) { return c.gpu_copy; })});
  }
  return all;
}

}  // namespace asymptop

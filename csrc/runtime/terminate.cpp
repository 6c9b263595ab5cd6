// In the place of libstdc++'s own, which brings names of types in clear: for the shared library that has libstdc++ in
// it.
#include <cstdlib>
#include <exception>

namespace __cxxabiv1 {

extern std::terminate_handler __terminate_handler;
std::terminate_handler __terminate_handler = std::abort;

}  // namespace __cxxabiv1

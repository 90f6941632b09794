// IEEE half precision, only as storage.
#pragma once

struct __half {
  _Float16 value;
};

// IEEE half precision: storage alone.
#pragma once

struct __half {
  _Float16 value;
};

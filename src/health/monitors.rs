//! A monitor for every service of the live generation: started, replaced and ended as generations come.
